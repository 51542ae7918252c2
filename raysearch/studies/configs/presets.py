"""Settings of a method as its authors ran it, by name; a study or a command puts its own settings on top."""

from typing import Any

from raysearch.core import UserError, nearest
from raysearch.studies.configs import FEWSHOT, PRETRAIN, RETRIEVAL, TASKS


def settings(name: str | None, task: str) -> dict[str, Any]:
    """Return the settings of a task's preset; none for no name.

    Raises:
        UserError: unknown preset or task.
    """
    if name is None:
        return {}
    presets = TASKS[task].presets
    if name not in presets:
        raise UserError(f"unknown preset '{name}' of {task}{nearest(name, presets)}")
    return dict(presets[name])


def names() -> str:
    """Return the names of the built-in presets, separated by commas.

    >>> "lwfm_text" in names()
    True
    """
    return ", ".join(name for spec in (RETRIEVAL, FEWSHOT, PRETRAIN) for name in spec.presets)
