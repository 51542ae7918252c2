"""Study files: a study by its name in `search_spaces` or the path of a user's own file, and the plan of either kind.

A user's file is loaded as Python loads a module. It is in `sys.modules`, so dataclasses, `pickle` and `inspect` work.
It imports the modules beside it, wherever it is; in a package, relative imports work too.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from raysearch.core import Problems, UserError, nearest, type_of
from raysearch.studies.design import ablation_plan, plan, search, search_plan, study_values
from raysearch.studies.design.ablation import Ablation

Study = Ablation | search.Search

_PLANNERS: dict[type, Callable[[Any, plan.PlanRequest], plan.Plan]] = {
    Ablation: ablation_plan.plan_requested,
    search.Search: search_plan.plan_requested,
}


def plan_study(study: Study, request: plan.PlanRequest) -> plan.Plan:
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
        UserError: no such study, a file that does not run, one that sets no `study`, or mistakes in the study.
    """
    problems = Problems()
    loaded = read_study(name, problems)
    problems.raise_all()
    assert loaded is not None
    return loaded


def read_study(name: str, problems: Problems) -> tuple[str, Study] | None:
    """Return the name of a study, and the study. All mistakes are added to the problems; None if no study came of it.

    Args:
        name: see `load_study`.
        problems: takes the mistakes.
    """
    path = Path(name).expanduser()
    if path.suffix != ".py" and "/" not in name:
        with problems.caught():
            if name not in study_names():
                raise UserError(f"unknown study '{name}'{nearest(name, study_names())}")
            return name, _study_of(importlib.import_module(f"search_spaces.{name}"), name)
        return None
    study_file = study_values.StudyFile(path.resolve().parent, Problems())
    try:
        with problems.caught():
            if not path.is_file():
                beside = [str(other) for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
                hint = nearest(str(path), beside)
                raise UserError(f"no study file '{name}'{hint if 'did you mean' in hint else ''}")
            with study_values.noting(study_file):
                module = _import_file(path)
            return path.stem, _study_of(module, name)
    finally:
        problems.add(*(f"study file '{path}': {message}" for message in study_file.problems.messages))
    return None


def _import_file(path: Path) -> ModuleType:
    """Run a study file as a module.

    Raises:
        UserError: the file does not run, or ends the process.
    """
    try:
        # What a study prints must not mix with a command's output, and compiled files do not belong beside it.
        with contextlib.redirect_stdout(sys.stderr), _without_bytecode():
            return _import_module(path.resolve())
    except KeyboardInterrupt:
        raise
    except UserError as error:
        problems = Problems()
        problems.add(*(f"study file '{path}': {message}" for message in error.messages))
        problems.raise_all()
        raise
    except SystemExit as error:
        raise UserError(
            f"study file '{path}' ends the process by exit({error.code!r}){_line_of(error, path)}; it should only set "
            "`study`"
        ) from None
    except BaseException as error:
        text = " ".join(str(error).split()) + _known_argument(error)
        line = "" if isinstance(error, SyntaxError) else _line_of(error, path)
        raise UserError(f"study file '{path}' does not run: {type(error).__name__}: {text}{line}") from None


def _import_module(path: Path) -> ModuleType:
    """Import a file under a name that is the same in every process, and that hides no other module."""
    root = path.parent
    while (root / "__init__.py").is_file() and (root.parent / "__init__.py").is_file():
        root = root.parent
    packages = path.parent.relative_to(root).parts if (root / "__init__.py").is_file() else None
    digest = hashlib.sha256(str(path.parent if packages is None else root).encode()).hexdigest()[:8]
    name = f"raysearch_study_{digest}_{_identifier(path.stem if packages is None else root.name)}"
    for loaded in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
        del sys.modules[loaded]
    _SiblingFinder.serve(path)
    if packages is None:
        return _execute(name, path)
    _execute(name, root / "__init__.py", [str(root)])
    package = importlib.import_module(".".join([name, *packages]))
    if path.name == "__init__.py":
        return package
    return _execute(f"{package.__name__}.{_identifier(path.stem)}", path)


def _execute(name: str, path: Path, folders: list[str] | None = None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


class _SiblingFinder:
    """Finds the modules beside the study file that was loaded last. They come before installed ones, as for a script.

    Args:
        path: of the study file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: set[str] = set()

    @classmethod
    def serve(cls, path: Path) -> None:
        """Look for modules beside this file from now on; those of another study's folder are forgotten."""
        for finder in [finder for finder in sys.meta_path if isinstance(finder, cls)]:
            sys.meta_path.remove(finder)
            for name in finder._found:
                sys.modules.pop(name, None)
        sys.meta_path.insert(0, cls(path))

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Return the spec of a module beside the study file; None for all others, which Python finds."""
        if path is not None or name in sys.stdlib_module_names or name in ("raysearch", "search_spaces", "dashboards"):
            return None
        spec = PathFinder.find_spec(name, [str(self._path.parent)])
        # A study called optuna.py does not hide optuna, and a folder without files of Python is not a package.
        if spec is None or spec.origin is None or (spec.origin == str(self._path) and self._is_installed(name)):
            return None
        self._found.add(name)
        return spec

    def _is_installed(self, name: str) -> bool:
        elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != self._path.parent]
        return PathFinder.find_spec(name, elsewhere) is not None


@contextlib.contextmanager
def _without_bytecode() -> Iterator[None]:
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _line_of(error: BaseException, path: Path) -> str:
    """Return the line of the study file in which an error arose, in words."""
    resolved = str(path.resolve())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == resolved]
    return f" (line {lines[-1]})" if lines else ""


def _known_argument(error: BaseException) -> str:
    """Return the nearest argument of a study or factor for one that it does not have."""
    match = re.search(r"(Ablation|Search)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if not isinstance(error, TypeError) or match is None:
        return ""
    kind = Ablation if match[1] == "Ablation" else search.Search
    return nearest(match[2], kind.__dataclass_fields__)


def _study_of(module: ModuleType, name: str) -> Study:
    study = getattr(module, "study", None)
    if not isinstance(study, Study):
        has = "" if study is None else f"; its `study` is {type_of(study)}"
        raise UserError(f"'{name}' sets no `study = Ablation(...)` or `Search(...)`{has}")
    return study
