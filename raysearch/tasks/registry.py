"""Tasks by their names in configs: how each is built, what exactly its metrics are, and the backbone it starts from."""

import io
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from raysearch.core import atomic, is_own, open_below
from raysearch.storage import private_place
from raysearch.studies.configs import TASKS, RunConfig, parse_config
from raysearch.studies.design import GPU, Device, cell_hash
from raysearch.studies.design.user_tasks import UserTaskSpec
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


def builder_for_workers(task: str) -> Callable[[Mapping[str, Any], int, Worker], Task]:
    """Return the function that builds a task in other processes. A user's own code travels in it."""
    spec = TASKS[task]
    return spec.plain_build() if isinstance(spec, UserTaskSpec) else build_from_plain


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
        directory: the directory of stored backbones; if other users can write to it, one in the user's default cache.
        train: advances a task to its end.
    """
    pre_training = config.starts_from(seed)
    if pre_training is None:
        return worker
    pre_config, pre_seed = pre_training
    device = device_of(worker.device)
    # Earlier versions named a backbone by this hash alone, whatever device it was trained on.
    name = f"{cell_hash(pre_config, worker.feed.content_hash, pre_seed, device=device)}-{device.kind}.pt"
    folder = private_place(directory)  # a foreign file would change the numbers under the same hash
    state = _read_backbone(folder, name, worker.device)
    if state is None:
        task = build(pre_config, pre_seed, worker)
        train(task)
        state = task.state_dict()["trunk"]
        buffer = io.BytesIO()  # torch.save reports a full disk as a RuntimeError
        torch.save(state, buffer)
        atomic.write_bytes(folder / name, buffer.getbuffer())
        state = torch.load(io.BytesIO(buffer.getbuffer()), weights_only=True, map_location=worker.device)
    return replace(worker, start=state)


def device_of(device: torch.device) -> Device:
    """Return a torch device as cells are named by it. GPUs older than Ampere have no bfloat16."""
    if device.type != GPU.kind:
        return Device(device.type)
    return GPU if torch.cuda.get_device_capability(device) >= (8, 0) else Device(GPU.kind)


def _read_backbone(folder: Path, name: str, device: torch.device) -> Any:
    """Return the state in a file, or None if there is none that is whole and this user's own."""
    try:
        with open_below(folder, name) as file:
            return torch.load(file, weights_only=True, map_location=device) if is_own(os.fstat(file.fileno())) else None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
        return None
