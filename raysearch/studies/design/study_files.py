"""Finding a study: by name in `search_spaces`, or a file of the user's own."""

import importlib
import importlib.util
import pkgutil
from pathlib import Path

from raysearch.core.errors import UserError, nearest
from raysearch.studies.design.ablation import Ablation
from raysearch.studies.design.search import Search

Study = Ablation | Search


def study_names() -> list[str]:
    """The studies that come with raysearch."""
    import search_spaces

    return sorted(module.name for module in pkgutil.iter_modules(search_spaces.__path__) if not module.ispkg)


def load_study(name: str) -> tuple[str, Study]:
    """A study and its name.

    Args:
        name: of a file in `search_spaces`, or the path of a Python file that sets `study`.

    Raises:
        UserError: no such study, a file that does not run, or one that sets no `study`.
    """
    path = Path(name)
    if path.suffix == ".py" or "/" in name:
        if not path.is_file():
            raise UserError(f"no study file '{name}'")
        return path.stem, _study_of(_import_file(path), name)
    if name not in study_names():
        raise UserError(f"unknown study '{name}'{nearest(name, study_names())}")
    return name, _study_of(importlib.import_module(f"search_spaces.{name}"), name)


def _import_file(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"study file '{path}': {error}") from None
    except Exception as error:
        raise UserError(f"study file '{path}' does not run: {type(error).__name__}: {error}") from None
    return module


def _study_of(module: object, name: str) -> Study:
    study = getattr(module, "study", None)
    if not isinstance(study, Study):
        raise UserError(f"'{name}' sets no `study = Ablation(...)` or `Search(...)`")
    return study
