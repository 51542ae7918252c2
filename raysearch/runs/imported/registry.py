"""The readers of sources by name. The first that recognizes a source reads it."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from raysearch.core import Registry, UserError
from raysearch.runs.imported.source import Source


@dataclass(frozen=True)
class SourceReader:
    """A reader of one kind of source.

    Attributes:
        recognizes: returns whether a path is such a source, from names and first bytes alone.
        read: returns the content; its second argument is the part that the user names, or None.
        is_general: whether other readers know some of its sources better, and are asked first.
    """

    recognizes: Callable[[Path], bool]
    read: Callable[[Path, str | None], Source]
    is_general: bool = False


READERS: Registry[SourceReader] = Registry("kind of source")

_MODULES = (
    "mlflow_store",
    "optuna_trials",
    "tune_results",
    "hydra_jobs",
    "tensorboard_events",
    "wandb_export",
    "tables",
)


def is_foreign(path: Path) -> bool:
    """Return whether a path is to be read as another tool's results: a file, or a folder that a reader recognizes."""
    if not path.exists() or (path / "study.json").exists():
        return False
    if any(path.glob("*/study.json")):  # runs of raysearch, which may hold event files of a tracker
        return False
    return path.is_file() or find_reader(path) is not None


def find_reader(path: Path) -> str | None:
    """Return the name of the first reader that recognizes a path; None if none does."""
    for module in _MODULES:
        importlib.import_module(f"raysearch.runs.imported.{module}")
    names = sorted(READERS, key=lambda name: READERS[name].is_general)
    return next((name for name in names if READERS[name].recognizes(path)), None)


def read_source(path: Path, part: str | None) -> tuple[str, Source]:
    """Return the kind and the content of a source.

    Args:
        path: a file or a folder.
        part: the study or experiment of a source that holds several; None if it holds one.

    Raises:
        UserError: there is no such path, no reader knows it, or it is damaged.
    """
    if not path.exists():
        raise UserError(f"no such file or folder: '{path}'")
    name = find_reader(path)
    if name is None:
        raise UserError(f"'{path}' holds no results that can be read; known: {', '.join(READERS)}")
    return name, READERS[name].read(path, part)
