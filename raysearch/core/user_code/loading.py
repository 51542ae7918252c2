"""Imports a user's code in any process, from its source.

Each source gets a package of its own, named by its digest, so that two files of one name never meet in a process. An
`import helpers` in such a module finds the `helpers.py` beside it first, as it does in a script.
"""

import atexit
import builtins
import importlib
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from raysearch.core.errors import UserError, nearest
from raysearch.core.user_code.references import UserCode

_PREFIX = "raysearch_user_"
_NEVER_OWN = frozenset({"raysearch", "search_spaces", "dashboards", *sys.stdlib_module_names})

_files: dict[str, frozenset[str]] = {}  # folder -> files of a user's code below it, relative
_loaded: dict[tuple[str, str], Any] = {}  # digest and name -> an object that this process has already


def set_loaded(code: UserCode, item: Any) -> None:
    """Let `load` return an object that this process has imported already, such as a function of its study file."""
    _loaded[code.source_digest, code.name] = item
    _name_files(code.root, code)


def load(code: UserCode) -> Any:
    """Import the function or class in this process, once.

    Raises:
        UserError: the file does not run here, or has no such name.
    """
    loaded = _loaded.get((code.source_digest, code.name))
    if loaded is not None:
        return loaded
    try:
        if code.installed:
            module = importlib.import_module(code.module)
        else:
            module = importlib.import_module(f"{_package_of(code)}.{code.module}")
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        place = describe_place(error)
        raise UserError(
            f"'{code.label}' does not run: {type(error).__name__}: {' '.join(str(error).split())}"
            + (f" ({place})" if place else "")
        ) from None
    item: Any = module
    for part in code.name.split("."):
        if not hasattr(item, part):
            public = [name for name in vars(module) if not name.startswith("_")]
            raise UserError(f"'{code.label}' has no '{code.name}'{nearest(code.name, public)}")
        item = getattr(item, part)
    _loaded[code.source_digest, code.name] = item
    return item


def describe_place(error: BaseException) -> str:
    """Return where in a user's file an error arose, such as `my_loss.py, line 12, in margin_loss`; empty if nowhere.

    It is the innermost line of the user's own files; calls into libraries below it are left out.
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        label = written_as(frame.filename)
        if label is not None:
            return f"{label}, line {frame.lineno}, in {frame.name}"
    return ""


def written_as(filename: str) -> str | None:
    """Return a user's file as the user knows it, relative to the root of its imports; None for other files."""
    path = Path(filename)
    for folder, names in _files.items():
        if path.is_relative_to(folder) and path.relative_to(folder).as_posix() in names:
            return path.relative_to(folder).as_posix()
    return None


def _name_files(folder: str, code: UserCode) -> None:
    _files[folder] = _files.get(folder, frozenset()) | set(code.files)


def _package_of(code: UserCode) -> str:
    """Return the package that holds the modules of a source; it is made at the first call."""
    package = _PREFIX + code.source_digest[:16]
    if package in sys.modules:
        return package
    home = _write_sources(code, package)
    _name_files(str(home / package), code)
    # Processes that this one spawns find the package too, for example the workers of a torch DataLoader.
    search = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(home), *([search] if search else [])])
    sys.path.append(str(home))
    importlib.invalidate_caches()
    importlib.import_module(package)
    return package


def _write_sources(code: UserCode, package: str) -> Path:
    """Write the files of a source below a folder of this process, which is removed at its end, and return that."""
    home = Path(tempfile.mkdtemp(prefix="raysearch-code-"))  # for this user alone
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(home, ignore_errors=True) if os.getpid() == owner else None)
    for name, text in code.files.items():
        path = home / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    root = home / package / "__init__.py"
    if not root.exists():
        root.write_text(
            "from raysearch.core.user_code.loading import serve_package\n\nserve_package(__name__, __path__)\n"
        )
    return home


def serve_package(package: str, folders: Sequence[str]) -> None:
    """Import the modules of a package so that their absolute imports find each other; the package itself calls this."""
    sys.meta_path.insert(0, _PackageFinder(package, list(folders)))


class _PackageFinder:
    """Finds the modules of one source.

    Args:
        package: the package of the source.
        folders: of its files.
    """

    def __init__(self, package: str, folders: list[str]) -> None:
        self._package = package
        self._own = {
            name.removesuffix(".py")
            for folder in folders
            for name in os.listdir(folder)
            if name != "__init__.py" and (name.endswith(".py") or (Path(folder) / name).is_dir())
        } - _NEVER_OWN

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the source; None for all others."""
        if not name.startswith(f"{self._package}."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path, self._import)
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Stand for `__import__` in the modules of the source."""
        top = name.partition(".")[0]
        if level or top not in self._own:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = importlib.import_module(f"{self._package}.{name}")
        if not fromlist:
            return sys.modules[f"{self._package}.{top}"]
        for item in fromlist:
            if item != "*" and not hasattr(module, item) and hasattr(module, "__path__"):
                try:
                    importlib.import_module(f"{module.__name__}.{item}")
                except ModuleNotFoundError as error:
                    if error.name != f"{module.__name__}.{item}":
                        raise
        return module


class _Loader(SourceFileLoader):
    """Runs a module with an import function of its own.

    Args:
        name: the module's full name.
        path: of its file.
        import_module: stands for `__import__` in it.
    """

    def __init__(self, name: str, path: str, import_module: Callable[..., ModuleType]) -> None:
        super().__init__(name, path)
        self._import_module = import_module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import_module}
        super().exec_module(module)
