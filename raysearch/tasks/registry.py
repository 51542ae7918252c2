"""The tasks by their names in configs: how each is made, and what its figures are exactly."""

from collections.abc import Callable, Mapping
from typing import Any

from raysearch.studies.configs.registry import RunConfig
from raysearch.tasks.base import Task, Worker
from raysearch.tasks.fewshot import task as fewshot_task
from raysearch.tasks.pretraining import task as pretraining_task
from raysearch.tasks.retrieval import task as retrieval_task

_BUILDERS: dict[str, Callable[[Mapping[str, Any], int, Worker], Task]] = {
    "retrieval": retrieval_task.build,
    "fewshot": fewshot_task.build,
    "pretrain": pretraining_task.build,
}
_METRIC_IDS: dict[str, Callable[[Any, str], dict[str, str]]] = {
    "retrieval": lambda config, split: retrieval_task.RetrievalTask.metric_ids,
    "fewshot": fewshot_task.metric_ids,
    "pretrain": pretraining_task.metric_ids,
}

# What the best checkpoint of a cell is chosen by: the higher the better.
HELD_OUT = {"retrieval": "map_validation", "fewshot": "accuracy_validation", "pretrain": "accuracy_validation"}


def build(config: Mapping[str, Any], seed: int, worker: Worker) -> Task:
    """Make a task from a plain config, as it travels between processes."""
    return _BUILDERS[config["task"]](config, seed, worker)


def metric_ids(config: RunConfig, split: str) -> dict[str, str]:
    """Metric -> what exactly it is, of a run.

    Args:
        config: of the run.
        split: name and hash of its class-disjoint split; empty where it has none.
    """
    return _METRIC_IDS[config.task](config, split)
