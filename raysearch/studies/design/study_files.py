"""Study files: a study by its name in `search_spaces` or the path of a user's own file, and the plan of either kind."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raysearch.core import UserError, nearest
from raysearch.studies.design import ablation_plan, search_plan
from raysearch.studies.design.ablation import Ablation
from raysearch.studies.design.plan import Plan, PlanRequest
from raysearch.studies.design.search import Search

Study = Ablation | Search

_PLANNERS: dict[type, Callable[[Any, PlanRequest], Plan]] = {
    Ablation: ablation_plan.plan_requested,
    Search: search_plan.plan_requested,
}


def plan_study(study: Study, request: PlanRequest) -> Plan:
    """Return the plan of a study on no data set yet; `Plan.for_data` completes it.

    Raises:
        UserError: an unknown name, a value or combination that cannot be, or an option of the other kind of study.
    """
    return _PLANNERS[type(study)](study, request)


def study_names() -> list[str]:
    """Return the names of the studies that come with raysearch."""
    import search_spaces

    return sorted(module.name for module in pkgutil.iter_modules(search_spaces.__path__) if not module.ispkg)


def load_study(name: str) -> tuple[str, Study]:
    """Return the name of a study, and the study.

    Args:
        name: the name of a file in `search_spaces`, or the path of a Python file that sets `study`.

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
