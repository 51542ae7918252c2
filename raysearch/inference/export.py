"""What `raysearch.train --export` writes, by task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.core.errors import UserError
from raysearch.data.shards.manifest import Manifest
from raysearch.inference import classifier, hasher
from raysearch.tasks.base import Task
from raysearch.tasks.fewshot.task import FewshotTask
from raysearch.tasks.retrieval.shallow_task import ShallowHashingTask
from raysearch.tasks.retrieval.task import RetrievalTask


def check(task: str) -> None:
    """Raise a UserError, before any work, for a task of which nothing can be exported."""
    if task == "pretrain":
        raise UserError(
            "--export: a pre-trained trunk names nothing by itself; for one with nearest centroids: raysearch.train "
            "fewshot --set model.method=centroid --set pretrain.epochs=N --set train.epochs=0 --export FILE"
        )


def save(path: Path, task: Task, data: Manifest, metrics: Mapping[str, Any]) -> None:
    """Write the model of a task that has ended; arguments as `exported.save`."""
    if isinstance(task, FewshotTask):
        classifier.save(path, task, data, metrics)
    else:
        assert isinstance(task, RetrievalTask | ShallowHashingTask), "see `check`"
        hasher.save(path, task, data, metrics)
