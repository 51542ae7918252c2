"""Stops a study whose first cells all fail with the same error: the rest would fail too."""

import re
from collections.abc import Callable
from typing import Any

from raysearch.core import UserError
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.runs import results

_ENOUGH = 3  # failures alike, of different variants
# A loss that is not finite, or a network too large for the GPU, is a result, and the next variants may do better.
_ENOUGH_RESULTS = 5
_RESULT = re.compile(r"NonFiniteLoss|out of (GPU )?memory|OutOfMemoryError", re.IGNORECASE)
_VARYING = re.compile(
    r"0x[0-9a-fA-F]+"  # addresses
    r"|\b[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,})*\b"  # hashes and ids
    r"|(?:[A-Za-z][\w+.-]*:/)?(?:~|\.{1,2})?(?:/[^\s'\",;:()]+)+"  # paths and URIs
    r"|[\w.-]+(?:/[\w.-]+)+"  # relative paths
    r"|\b[\w-]+\.(?:pth?|npy|parquet|json|csv|py|safetensors)\b"  # files
    r"|[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?"  # numbers
    r"|\b(?:nan|inf|infinity)\b"
)


class FailedAlike(UserError):
    """The first cells failed with the same error. The message tells how to go on."""


class FailureGuard(Listener):
    """Raises as soon as the first cells of a stage have failed with the same error.

    They must be of different variants, and the cell that was begun first must be among them. From the first cell that
    ends in another way, the guard is over. Errors that differ only in paths, numbers or addresses are the same.

    Args:
        planned: cells of the stage that are to be run.
        any_finished: returns whether a cell of the study had finished before, so that a failed result, such as a loss
            that is not finite, says nothing about the others.
        data_sets: number of data sets that the cells are on; some must have failed on each.

    Attributes:
        watching: whether the next failure may still stop the study.
    """

    def __init__(self, planned: int, any_finished: Callable[[], bool] = lambda: False, data_sets: int = 1) -> None:
        self.watching = planned > 1
        self._planned = planned
        self._any_finished = any_finished
        self._data_sets = data_sets
        self._failed_sets: set[str | None] = set()
        self._first: str | None = None
        self._failed: dict[str, str] = {}  # cell -> variant
        self._error = ""

    def started(self, job: Job) -> None:
        """Remember the first cell."""
        self._first = self._first or job.cell

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Count a failure.

        Raises:
            FailedAlike: there are enough.
        """
        if not self.watching:
            return
        error = str(record.get("error"))
        is_result = bool(_RESULT.search(error))
        if (
            record["status"] != "failed"
            or "its pre-training, cell" in error  # fails at once, and costs nothing
            or (is_result and self._any_finished())
            or (self._failed and common_form(error) != common_form(self._error))
        ):
            self.watching = False
        if not self.watching:
            return
        self._error = self._error or error
        self._failed[job.cell] = job.variant
        self._failed_sets.add(job.data_set)
        variants = len(set(self._failed.values()))
        enough = _ENOUGH_RESULTS if is_result else min(self._planned, _ENOUGH)
        on_all_sets = len(self._failed_sets) == self._data_sets
        if len(self._failed) >= enough and variants > 1 and on_all_sets and self._first in self._failed:
            raise FailedAlike(
                f"the first {len(self._failed)} cells, of {variants} variants, failed with the same error, so the rest "
                f"was not begun: {self._error}; {how_to_go_on(self._error)}"
            )


def common_form(error: str) -> str:
    """Return an error without what differs between cells: paths, numbers, addresses.

    >>> common_form("FileNotFoundError: [Errno 2] no file '/data/a/1.pth'") == common_form(
    ...     "FileNotFoundError: [Errno 2] no file '/data/b/27.pth'"
    ... )
    True
    >>> common_form("UserError: no file 'a.pth'") == common_form("UserError: no layer 'a.pth'")
    False
    """
    return " ".join(_VARYING.sub("*", error).split())


def how_to_go_on(error: str) -> str:
    """Return what the user can do after an error."""
    if results.is_input_error(error):
        return "correct the cause, and give the same command again"
    return "after a correction, --retry-failed runs them again"
