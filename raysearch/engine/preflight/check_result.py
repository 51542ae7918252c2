"""What a look beforehand found, a line each, and whether it stands in the way."""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from raysearch.core.errors import UserError


class State(enum.Enum):
    GOOD = "ok"
    OPEN = "look"  # a person has to judge it
    BAD = "no"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it stands, and what to do."""

    what: str
    state: State
    says: str


def good(what: str, says: str) -> Finding:
    return Finding(what, State.GOOD, says)


def unsure(what: str, says: str) -> Finding:
    return Finding(what, State.OPEN, says)


def bad(what: str, says: str) -> Finding:
    return Finding(what, State.BAD, says)


def tried(what: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a look found; a UserError is a finding too, and hides none of the others.

    >>> def look():
    ...     yield good("data", "96 images")
    ...     raise UserError("no such bucket")
    >>> [one.says for one in tried("data", look)]
    ['96 images', 'no such bucket']
    """
    found: list[Finding] = []
    try:
        # one by one: what came before an error stays
        for one in look():
            found.append(one)  # noqa: PERF402
    except UserError as error:
        found.append(bad(what, str(error)))
    return found
