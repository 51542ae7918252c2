"""Write the model file of `raysearch.train --export`, whatever the task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.data.shards import Manifest
from raysearch.inference import classifier, hasher
from raysearch.tasks.base import Task
from raysearch.tasks.fewshot.task import FewshotTask
from raysearch.tasks.retrieval.shallow_task import ShallowHashingTask
from raysearch.tasks.retrieval.task import RetrievalTask

_EXPORTED = ("retrieval", "fewshot")


def check(task: str) -> None:
    """Check, before any work, that a task's model can be exported.

    Raises:
        UserError: models of this task cannot be exported.
    """
    if task == "pretrain":
        raise UserError(
            "--export: a pre-trained backbone alone cannot name images. Export it with nearest centroids: "
            "raysearch.train fewshot --set model.method=centroid --set pretrain.epochs=N --set train.epochs=0 "
            "--export FILE"
        )
    if task not in _EXPORTED:
        raise UserError(f"--export: models of task '{task}' cannot be exported; --out FILE writes the trained state")


def save(path: Path, task: Task, data: Manifest, metrics: Mapping[str, Any]) -> None:
    """Write the model of a finished task. Arguments and errors are those of `hasher.save`."""
    if isinstance(task, FewshotTask):
        classifier.save(path, task, data, metrics)
    else:
        assert isinstance(task, RetrievalTask | ShallowHashingTask), "see `check`"
        hasher.save(path, task, data, metrics)
