"""Tasks by their names in configs: how each is built, and what exactly its metrics are."""

from collections.abc import Mapping
from typing import Any

from raysearch.studies.configs import TASKS, RunConfig, parse_config
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
