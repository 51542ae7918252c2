"""What `raysearch.train --export` writes, by task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.data.manifest import Manifest
from raysearch.errors import UserError
from raysearch.tasks import exported
from raysearch.tasks.base import Task
from raysearch.tasks.fitted import FittedTask
from raysearch.tasks.retrieval import RetrievalTask


def save(path: Path, task: Task, data: Manifest, metrics: Mapping[str, Any]) -> None:
    """Write the model of a task that has ended; arguments as `exported.save`."""
    if not isinstance(task, RetrievalTask | FittedTask):
        raise UserError("--export: nothing can be made of this task's model")
    exported.save(path, task, data, metrics)
