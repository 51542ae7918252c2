"""The function that builds a task in a worker, as the driver of a study sends it there.

Driver and trial actors only hand it on, so this module imports no torch; workers do when they call it.
"""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from raysearch.core import user_code
from raysearch.studies.configs import TASKS
from raysearch.studies.design.user_tasks import UserTaskSpec

if TYPE_CHECKING:
    from raysearch.tasks.base import Task, Worker

BuildTask = Callable[[Mapping[str, Any], int, "Worker"], "Task"]  # (plain config, seed, worker) -> task


def builder_for_workers(task: str, precision: str | None = None) -> BuildTask:
    """Return the function that builds a task in other processes. A user's own code travels in it.

    Args:
        task: the task's name.
        precision: that cells are named by where their config has "auto": workers on a GPU that computes in another one
            raise a UserError. None: any.
    """
    spec = TASKS[task]
    build = spec.plain_build() if isinstance(spec, UserTaskSpec) else functools.partial(_build_in_precision, precision)
    codes = user_code.all_registered()
    return functools.partial(_build_with_code, codes, build) if codes.codes else build


def _build_in_precision(precision: str | None, config: Mapping[str, Any], seed: int, worker: "Worker") -> "Task":
    from raysearch.tasks import registry

    return registry.build_in_precision(precision, config, seed, worker)


def _build_with_code(
    codes: user_code.RegisteredCodes, build: BuildTask, config: Mapping[str, Any], seed: int, worker: "Worker"
) -> "Task":
    """Build a task after the codes that its config may name are known in this process."""
    codes.register_all()
    return build(config, seed, worker)
