"""Tasks by their names in configs: how each is built, what exactly its metrics are, and the backbone it starts from."""

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from raysearch.core import atomic
from raysearch.studies.configs import TASKS, RunConfig, parse_config
from raysearch.studies.design import cell_hash
from raysearch.tasks.base import Task, Worker


def build(config: RunConfig, seed: int, worker: Worker) -> Task:
    """Return the task of a config, ready to train.

    Args:
        config: the config of the run.
        seed: the seed of everything random.
        worker: the worker that it runs on.

    Raises:
        UserError: unknown task, or a config that does not fit the data or the worker.
    """
    task: Task = TASKS[config.task].load_build()(config, seed, worker)
    return task


def build_from_plain(config: Mapping[str, Any], seed: int, worker: Worker) -> Task:
    """Return the task of a config that came from another process as plain values; see `build`."""
    return build(parse_config(config), seed, worker)


def metric_ids(config: RunConfig, split: str) -> dict[str, str]:
    """Return the exact definition of each metric of a run.

    Args:
        config: the config of the run.
        split: name and hash of its class-disjoint split; empty where it has none.
    """
    ids: dict[str, str] = TASKS[config.task].load_metric_ids()(config, split)
    return ids


def with_pretrained_backbone(
    config: RunConfig, seed: int, worker: Worker, directory: Path, train: Callable[[Task], None]
) -> Worker:
    """Return the worker with the backbone that the config starts from; unchanged if the config has no pre-training.

    Args:
        config: the config of the run.
        seed: the seed of the run.
        worker: the worker that the run is trained on, alone.
        directory: the directory of stored backbones.
        train: advances a task to its end.
    """
    pre_training = config.starts_from(seed)
    if pre_training is None:
        return worker
    pre_config, pre_seed = pre_training
    path = directory / f"{cell_hash(pre_config, worker.feed.content_hash, pre_seed)}.pt"
    if not path.exists():
        task = build(pre_config, pre_seed, worker)
        train(task)
        state = task.state_dict()["trunk"]
        buffer = io.BytesIO()  # torch.save reports a full disk as a RuntimeError
        torch.save(state, buffer)
        atomic.write_bytes(path, buffer.getbuffer())
    return replace(worker, start=torch.load(path, weights_only=True, map_location=worker.device))
