"""The codes that this process knows by their references: those that a study, a command or a driver has named.

A config that holds a reference, such as `hash.method=my_loss.py:margin_loss`, means the code that is known by it. A
config from a file makes no code known, so a run directory from elsewhere runs nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from raysearch.core.errors import UserError
from raysearch.core.user_code.references import UserCode, read_code, with_declared_version

_known: dict[str, UserCode] = {}


def know(code: UserCode) -> UserCode:
    """Make a code known by its reference, and return it. An edited file replaces its earlier state.

    Raises:
        UserError: another file is known by the same reference.
    """
    other = _known.get(code.reference)
    if other is not None and other.root != code.root and other.source_digest != code.source_digest:
        raise UserError(
            f"two files are called '{code.label}', in '{other.root}' and in '{code.root}'; rename one of them"
        )
    _known[code.reference] = code
    return code


def know_reference(reference: str, folder: Path | None = None) -> UserCode:
    """Read the code that a user has named, and make it known; see `read_code`.

    Raises:
        UserError: it cannot be read, or another file is known by its reference.
    """
    from raysearch.core.user_code.loading import load, remember

    code = know(read_code(reference, folder))
    item = load(code)
    versioned = know(with_declared_version(code, item))
    remember(versioned, item)
    return versioned


def known_code(reference: str) -> UserCode | None:
    """Return the code that is known by a reference, or None."""
    return _known.get(reference)


@dataclass(frozen=True)
class KnownCodes:
    """All codes that a process knows, to send to others."""

    codes: tuple[UserCode, ...]

    def know_all(self) -> None:
        """Make the codes known in this process."""
        for code in self.codes:
            _known[code.reference] = code


def all_known() -> KnownCodes:
    """Return all codes that this process knows."""
    return KnownCodes(tuple(_known.values()))


def forget_all() -> None:
    """Make all codes unknown again."""
    _known.clear()
