"""Errors that a user can act on, and hints that name the nearest known name."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """The user's input cannot work. The message is one line: what is wrong, where, and what to do."""


class Unreachable(UserError):
    """A store does not answer, or refuses access. The input may be right."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint to append to a message: the nearest known name, or the list of known names.

    >>> nearest("srem.region", ["srem.regions", "hash.bits"])
    "; did you mean 'srem.regions'?"
    >>> nearest("xyz", ["laptop", "paper"])
    '; known: laptop, paper'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""
