"""Write the model file of `raysearch.train --export`, whatever the task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.data.shards import Manifest
from raysearch.inference import classifier, hasher
from raysearch.studies.configs import TASKS, FewshotConfig, RetrievalConfig
from raysearch.tasks.base import Task
from raysearch.tasks.fewshot.task import FewshotTask
from raysearch.tasks.retrieval.shallow_task import ShallowHashingTask
from raysearch.tasks.retrieval.task import RetrievalTask


def check(task: str) -> None:
    """Check, before any work, that a task's model can be exported.

    Raises:
        UserError: models of this task cannot be exported.
    """
    spec = TASKS[task] if task in TASKS else None  # noqa: SIM401  # a registry is no dict
    if spec is None or spec.model is None or not issubclass(spec.config, RetrievalConfig | FewshotConfig):
        advice = (
            spec and spec.no_model
        ) or f"models of task '{task}' cannot be exported; --out FILE writes the trained state"
        raise UserError(f"--export: {advice}")


def save(path: Path, task: Task, data: Manifest, metrics: Mapping[str, Any]) -> None:
    """Write the model of a finished task. Arguments and errors are those of `hasher.save`."""
    if isinstance(task, FewshotTask):
        classifier.save(path, task, data, metrics)
    else:
        assert isinstance(task, RetrievalTask | ShallowHashingTask), "see `check`"
        hasher.save(path, task, data, metrics)
