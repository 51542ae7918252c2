"""The code that a study, a command or a driver of this process has registered, by its reference.

A config may hold a reference, such as `hash.method=my_loss.py:margin_loss`. It means the code that is registered under
it. Reading a config registers nothing, so a run directory from elsewhere runs no code.
"""

from dataclasses import dataclass
from pathlib import Path

from raysearch.core.errors import UserError
from raysearch.core.user_code import loading
from raysearch.core.user_code.references import UserCode, read_code, with_declared_version

_registered: dict[str, UserCode] = {}


def register(code: UserCode) -> UserCode:
    """Register code under its reference, and return it. An edited file replaces its earlier state.

    Raises:
        UserError: another file is registered under the same reference.
    """
    other = _registered.get(code.reference)
    if other is not None and other.root != code.root and other.source_digest != code.source_digest:
        raise UserError(
            f"two files are called '{code.label}', in '{other.root}' and in '{code.root}'; rename one of them"
        )
    _registered[code.reference] = code
    return code


def register_reference(reference: str, folder: Path | None = None) -> UserCode:
    """Read and load the code that a user has named, and register it; see `read_code`.

    Raises:
        UserError: it cannot be read or loaded, or another file is registered under its reference.
    """
    code = register(read_code(reference, folder))
    item = loading.load(code)
    versioned = register(with_declared_version(code, item))
    loading.set_loaded(versioned, item)
    return versioned


def registered_code(reference: str) -> UserCode | None:
    """Return the code that is registered under a reference, or None."""
    return _registered.get(reference)


@dataclass(frozen=True)
class RegisteredCodes:
    """All code that a process has registered, to send to others."""

    codes: tuple[UserCode, ...]

    def register_all(self) -> None:
        """Register the code in this process."""
        for code in self.codes:
            _registered[code.reference] = code


def all_registered() -> RegisteredCodes:
    """Return all code that this process has registered."""
    return RegisteredCodes(tuple(_registered.values()))


def unregister_all() -> None:
    """Forget all registered code."""
    _registered.clear()
