"""Write the model file of `raysearch.train --export`, whatever the task."""

import functools
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.core import UserError, atomic, user_code
from raysearch.data.shards import Manifest
from raysearch.inference import classifier, hasher
from raysearch.studies.configs import TASKS, FewshotConfig, RetrievalConfig
from raysearch.studies.design.user_tasks import UserTaskSpec
from raysearch.tasks.base import Task
from raysearch.tasks.fewshot.task import FewshotTask
from raysearch.tasks.retrieval.shallow_task import ShallowHashingTask
from raysearch.tasks.retrieval.task import RetrievalTask
from raysearch.tasks.user.class_task import ClassTask


def check(task: str) -> None:
    """Check, before any work, that a task's model can be exported.

    Raises:
        UserError: models of this task cannot be exported.
    """
    spec = TASKS[task] if task in TASKS else None  # noqa: SIM401  # a registry is no dict
    if isinstance(spec, UserTaskSpec):
        _check_user_task(spec)
    elif spec is None or spec.model is None or not issubclass(spec.config, RetrievalConfig | FewshotConfig):
        advice = (
            spec and spec.no_model
        ) or f"models of task '{task}' cannot be exported; --out FILE writes the trained state"
        raise UserError(f"--export: {advice}")


def save(path: Path, task: Task, data: Manifest, metrics: Mapping[str, Any]) -> str:
    """Write the model of a finished task, and return what it is for.

    Args:
        path: path of the file.
        task: the trained task.
        data: manifest of the data set it was trained on.
        metrics: metrics of its evaluation.

    Raises:
        UserError: the file cannot be written.
        Exception: as a user's class raised it.
    """
    if isinstance(task, ClassTask):
        _save_user_model(path, task)
        return f"the model, as {task.reference} exports it"
    if isinstance(task, FewshotTask):
        classifier.save(path, task, data, metrics)
        return "the model, for raysearch classify"
    assert isinstance(task, RetrievalTask | ShallowHashingTask), "see `check`"
    hasher.save(path, task, data, metrics)
    return "the model, for raysearch retrieve"


def _check_user_task(spec: UserTaskSpec) -> None:
    """Check that a user's task has a method that writes its model.

    Raises:
        UserError: it has none.
    """
    assert spec.code is not None
    item = user_code.load(spec.code)
    if not isinstance(item, type):
        raise UserError(
            f"--export: '{spec.name}' is a function, which has no model to export; let it write one to run.out"
        )
    if not hasattr(item, "export"):
        raise UserError(
            f"--export: class '{spec.name}' has no method export(path), which writes its model; --out FILE writes the "
            "trained state"
        )


def _save_user_model(path: Path, task: ClassTask) -> None:
    """Let a user's class write its model, and give the file its name when it is complete.

    The class gets a path in an empty directory, since some libraries write further files beside theirs, such as the
    weights of a large ONNX model. Those get their names first.
    """
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        task.export(written)
        for beside in sorted(Path(folder).iterdir()):
            if beside != written:
                atomic.replace_file(path.parent / beside.name, functools.partial(shutil.move, beside))
        atomic.replace_file(path, functools.partial(shutil.move, written))
