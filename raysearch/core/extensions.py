"""Files of a user that register methods, backbones, layouts, samplers or report sections when they are imported.

They are named on the command line (`--extension my_loss.py`) or in RAYSEARCH_EXTENSIONS, separated by the system's
path separator. Child processes inherit the variable, so the workers of a local Ray load the same files.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from raysearch.core.errors import UserError

VARIABLE = "RAYSEARCH_EXTENSIONS"

_loaded: set[str] = set()


def load(names: Iterable[str]) -> None:
    """Import extensions in this process and in the processes that it starts.

    Args:
        names: paths of Python files, or dotted names of modules.

    Raises:
        UserError: there is no such file or module, or it fails when it is imported.
    """
    names = [str(Path(name).expanduser().resolve()) if name.endswith(".py") else name for name in names]
    listed = _listed()
    os.environ[VARIABLE] = os.pathsep.join([*listed, *(name for name in names if name not in listed)])
    for name in names:
        _load(name)


def load_from_environment() -> None:
    """Import the extensions that RAYSEARCH_EXTENSIONS names, once per process.

    Raises:
        UserError: an extension is missing, or fails when it is imported.
    """
    for name in _listed():
        _load(name)


def _listed() -> list[str]:
    return [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]


def _load(name: str) -> None:
    if name in _loaded:
        return
    _loaded.add(name)  # before the import, which may itself look up a name
    try:
        if name.endswith(".py"):
            _import_file(Path(name))
        else:
            importlib.import_module(name)
    except UserError as error:
        _loaded.discard(name)
        raise UserError(f"extension '{name}': {error}") from None
    except Exception as error:
        _loaded.discard(name)
        raise UserError(f"extension '{name}' cannot be imported: {type(error).__name__}: {error}") from None


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise UserError("no such file")
    # A name of its own: a file called torch.py must neither hide torch nor be taken for it.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"raysearch_extension_{digest}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # inspect finds the source of its classes there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
