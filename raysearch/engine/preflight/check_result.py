"""What a look beforehand found, a line each, and whether it stands in the way."""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from raysearch.core.errors import UserError


class CheckStatus(enum.Enum):
    GOOD = "ok"
    OPEN = "look"  # a person has to judge it
    BAD = "no"


@dataclass(frozen=True)
class CheckResult:
    """One line: what was looked at, how it stands, and what to do."""

    what: str
    state: CheckStatus
    says: str


def passed(what: str, says: str) -> CheckResult:
    return CheckResult(what, CheckStatus.GOOD, says)


def warned(what: str, says: str) -> CheckResult:
    return CheckResult(what, CheckStatus.OPEN, says)


def failed(what: str, says: str) -> CheckResult:
    return CheckResult(what, CheckStatus.BAD, says)


def collect(what: str, look: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
    """What a look found; a UserError is a finding too, and hides none of the others.

    >>> def look():
    ...     yield good("data", "96 images")
    ...     raise UserError("no such bucket")
    >>> [one.says for one in tried("data", look)]
    ['96 images', 'no such bucket']
    """
    found: list[CheckResult] = []
    try:
        # one by one: what came before an error stays
        for one in look():
            found.append(one)  # noqa: PERF402
    except UserError as error:
        found.append(failed(what, str(error)))
    return found
