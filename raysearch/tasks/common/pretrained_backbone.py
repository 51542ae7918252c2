"""Pre-trained backbones without a cluster: trained when they are first needed, and stored under their cell's hash."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from raysearch.core import atomic
from raysearch.studies.configs import RunConfig
from raysearch.studies.design import cell_hash
from raysearch.tasks import registry
from raysearch.tasks.base import Task, Worker


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
        task = registry.build(pre_config, pre_seed, worker)
        train(task)
        state = task.state_dict()["trunk"]
        atomic.replace_file(path, lambda temporary: torch.save(state, temporary))
    return replace(worker, start=torch.load(path, weights_only=True, map_location=worker.device))
