"""References to a user's code: `my_loss.py:margin_loss` names a file, `my_package.my_task:train` a module."""

import importlib.util
import inspect
import site
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from raysearch.core.errors import UserError, nearest
from raysearch.core.user_code.source_files import read_sources, source_digest


@dataclass(frozen=True)
class UserCode:
    """A function or class of a user, with the source that defines it. It can be pickled and sent to any machine.

    Args:
        label: the file's name or the dotted module, as reports show it.
        name: the function's or class's name in the module.
        entry: the module's file, relative to the root of its imports.
        files: path relative to the root -> source text.
        installed: it belongs to an installed package, which every machine has for itself.
        root: the root of its imports on the machine that read it.
        version: declared by the user, in place of the source's digest.
    """

    label: str
    name: str
    entry: str
    files: Mapping[str, str] = field(repr=False)
    installed: bool = False
    root: str = ""
    version: str | None = None

    @property
    def reference(self) -> str:
        """The text that names it, such as `my_loss.py:margin_loss`."""
        return f"{self.label}:{self.name}"

    @cached_property
    def source_digest(self) -> str:
        """Digest of the source files, by which a process tells two files of one name apart."""
        return source_digest(self.files)

    @property
    def identity(self) -> str:
        """What decides its numbers: the declared version, or else the digest of the source."""
        return f"version {self.version}" if self.version is not None else self.source_digest[:20]

    @property
    def module(self) -> str:
        """Dotted name of the module below the root."""
        parts = list(PurePosixPath(self.entry).with_suffix("").parts)
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_reference(text: object) -> bool:
    """Return whether a text can be a reference to a user's code rather than a name.

    >>> is_reference("my_loss.py:margin_loss"), is_reference("my.losses:margin"), is_reference("dpsh")
    (True, True, False)
    """
    if not isinstance(text, str) or "://" in text:
        return False
    place, colon, name = text.rpartition(":")
    is_name = all(part.isidentifier() for part in name.split("."))
    return bool(colon and is_name) and (place.endswith(".py") or all(part.isidentifier() for part in place.split(".")))


def read_code(reference: str, folder: Path | None = None) -> UserCode:
    """Read the source that a reference names. Nothing of it is run.

    Args:
        reference: `file.py:name` or `package.module:name`.
        folder: of the study file; files and modules are looked up there after the current directory.

    Raises:
        UserError: no such file or module, or source that is not Python.
    """
    place, _, name = reference.rpartition(":")
    if not is_reference(reference):
        raise UserError(f"'{reference}' does not name code; write file.py:name or package.module:name")
    if place.endswith(".py"):
        return _code_of_file(_find_file(place, folder), name)
    return _code_of_module(place, name, folder)


def code_of(item: Callable[..., Any]) -> UserCode:
    """Return the code of a function or class that was imported from a file.

    Raises:
        UserError: it has no name at the top of a file, so that no other process could find it.
    """
    name = getattr(item, "__qualname__", "")
    try:
        file = inspect.getsourcefile(item)
    except TypeError:
        file = None
    if file is None or not Path(file).is_file() or "<" in name:
        raise UserError(
            f"{item!r} cannot be sent to workers; define it by `def` or `class` at the top of a file, outside functions"
        )
    return with_declared_version(_code_of_file(Path(file).resolve(), name), item)


def with_declared_version(code: UserCode, item: object) -> UserCode:
    """Return the code under the version that its object declares: `train.version = "2"`, or `version` in a class."""
    version = getattr(item, "version", None)
    return replace(code, version=str(version)) if isinstance(version, str | int) else code


def _find_file(place: str, folder: Path | None) -> Path:
    path = Path(place).expanduser()
    for base in (Path.cwd(), folder):
        if base is not None and (base / path).is_file():
            return (base / path).resolve()
    around = [str(other.name) for other in (folder or Path.cwd()).glob("*.py")]
    hint = nearest(path.name, around)
    raise UserError(f"no file '{place}'{hint if 'did you mean' in hint else ''}")


def _code_of_file(path: Path, name: str) -> UserCode:
    """Return the code of a file. Imports start from its folder, or from above the packages that it is in."""
    root = path.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    entry = PurePosixPath(*path.relative_to(root).parts)
    label = path.name if len(entry.parts) == 1 else ".".join(entry.with_suffix("").parts)
    installed = _is_installed(path)
    texts = read_sources(root, entry, entry.parts[0] if installed else None)
    return UserCode(label, name, str(entry), texts, installed, str(root))


def _code_of_module(module: str, name: str, folder: Path | None) -> UserCode:
    top = module.partition(".")[0]
    for base in (Path.cwd(), folder):
        if base is not None and ((base / top).is_dir() or (base / f"{top}.py").is_file()):
            entry = PurePosixPath(*module.split("."))
            for candidate in (entry.with_suffix(".py"), entry / "__init__.py"):
                if (base / candidate).is_file():
                    root = base.resolve()
                    return UserCode(module, name, str(candidate), read_sources(root, candidate), False, str(root))
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise UserError(f"no module '{module}' here, beside the study or among the installed packages")
    path = Path(spec.origin).resolve()
    root = path.parents[len(module.split(".")) - (0 if path.name == "__init__.py" else 1)]
    entry = PurePosixPath(*path.relative_to(root).parts)
    installed = _is_installed(path)
    texts = read_sources(root, entry, top if installed else None)
    return UserCode(module, name, str(entry), texts, installed, str(root))


def _is_installed(path: Path) -> bool:
    """Return whether a file belongs to an installed package or to Python itself."""
    folders = {*site.getsitepackages(), site.getusersitepackages(), *sysconfig.get_paths().values()}
    packages = [Path(folder).resolve() for folder in folders if "site-packages" in folder or "dist-packages" in folder]
    packages.append(Path(sysconfig.get_path("stdlib")).resolve())
    return any(path.is_relative_to(folder) for folder in packages) and not path.is_relative_to(Path(sys.prefix) / "bin")
