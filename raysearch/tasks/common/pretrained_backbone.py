"""Pre-trained trunks without a cluster: trained when first asked for, kept in a directory under their cell's name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from raysearch.core import atomic
from raysearch.studies.configs import RunConfig
from raysearch.studies.design import cell_hash
from raysearch.tasks import registry
from raysearch.tasks.base import Task, Worker


def trained(config: RunConfig, seed: int, worker: Worker, directory: Path, train: Callable[[Task], None]) -> Worker:
    """The worker with the trunk that the config starts from; as it is where the config names none.

    Args:
        config: of the run.
        seed: of the run.
        worker: what it runs on, alone.
        directory: of kept trunks.
        train: advances a task to its end.
    """
    before = config.starts_from(seed)
    if before is None:
        return worker
    own, own_seed = before
    path = directory / f"{cell_hash(own, worker.feed.content_hash, own_seed)}.pt"
    if not path.exists():
        task = registry.build(own, own_seed, worker)
        train(task)
        state = task.state_dict()["trunk"]
        atomic.replace_file(path, lambda temporary: torch.save(state, temporary))
    return replace(worker, start=torch.load(path, weights_only=True, map_location=worker.device))
