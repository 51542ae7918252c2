"""Errors that a person can act on, and the nearest known name for a wrong one."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user gave cannot work; the message is one line that says what, where and what would be right."""


class Unreachable(UserError):
    """A store that does not answer, or does not let us in: nothing that was given need be wrong."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known name, to be appended to a message.

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
