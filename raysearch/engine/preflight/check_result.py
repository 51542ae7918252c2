"""The result of one check: a status and a line of explanation."""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from raysearch.core import UserError


class CheckStatus(enum.Enum):
    """How a check ended. A WARN needs a person's judgment; a FAIL must be fixed first."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Args:
        check: the subject, in one word.
        status: how it ended.
        message: one line: what was found, and what to do.
    """

    check: str
    status: CheckStatus
    message: str


def passed(check: str, message: str) -> CheckResult:
    """Return a result with status PASS."""
    return CheckResult(check, CheckStatus.PASS, message)


def warned(check: str, message: str) -> CheckResult:
    """Return a result with status WARN."""
    return CheckResult(check, CheckStatus.WARN, message)


def failed(check: str, message: str) -> CheckResult:
    """Return a result with status FAIL."""
    return CheckResult(check, CheckStatus.FAIL, message)


def collect(check: str, run: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
    """Return the results of a check. Each mistake of a UserError becomes a failed result; those before it are kept.

    Args:
        check: the subject of that failed result.
        run: makes the checks.

    >>> def run():
    ...     yield passed("data", "96 images")
    ...     raise UserError("no such bucket")
    >>> [result.message for result in collect("data", run)]
    ['96 images', 'no such bucket']
    """
    results: list[CheckResult] = []
    try:
        for result in run():
            results.append(result)  # noqa: PERF402  # one by one: those before an error are kept
    except UserError as error:
        results += [failed(check, message) for message in error.messages]
    return results
