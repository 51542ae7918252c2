"""The tasks by their names in configs: how each is made, and what its figures are exactly."""

from collections.abc import Callable, Mapping
from typing import Any

from raysearch.studies.config import RunConfig
from raysearch.tasks import fewshot, pretraining, retrieval
from raysearch.tasks.base import Task, Worker

_BUILDERS: dict[str, Callable[[Mapping[str, Any], int, Worker], Task]] = {
    "retrieval": retrieval.build,
    "fewshot": fewshot.build,
    "pretrain": pretraining.build,
}
_METRIC_IDS: dict[str, Callable[[Any, str], dict[str, str]]] = {
    "retrieval": lambda config, split: retrieval.RetrievalTask.metric_ids,
    "fewshot": fewshot.metric_ids,
    "pretrain": pretraining.metric_ids,
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
