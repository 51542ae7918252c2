"""Jobs of a driver that is not alone: what has ended is never run again, and what another driver runs is waited for.

The results store is a directory, and so are the claims beside it: a driver holds a lock on a file named after the cell
while it runs it. The kernel releases a lock when its holder dies, whatever killed it, so no claim has to time out.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from raysearch.core import locks
from raysearch.engine.trials.jobs import Job, Jobs, Listener

_LOOK_AGAIN = 2.0  # seconds between looks at cells that another driver runs


class CellLocks:
    """Locks on cells, held by this process.

    Args:
        folder: of the lock files, the same for all drivers whose runs lie side by side.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, BinaryIO] = {}

    def take(self, cell: str) -> bool:
        """Claim a cell; False when another driver has it."""
        if cell in self._held:
            return True
        while True:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._held[cell] = locks.lock_file(self._folder / cell, create=True)
            except (FileNotFoundError, FileExistsError):  # another driver has just removed the folder
                continue
            except BlockingIOError:
                return False
            return True

    def release(self, cell: str) -> None:
        """Give a cell back."""
        lock = self._held.pop(cell, None)
        if lock is not None:
            (self._folder / cell).unlink(missing_ok=True)
            lock.close()

    def close(self) -> None:
        """Give all back, and take the folder away when nobody needs it."""
        for cell in list(self._held):
            self.release(cell)
        try:
            self._folder.rmdir()
        except OSError:  # another driver is at work, or nothing was ever claimed
            return


class DedupJobs(Listener):
    """Hands out jobs that no one has run and no one runs. Must hear of every end, after the results are stored.

    Args:
        jobs: where they come from.
        find: the record of a cell that has ended, or None.
        answered: is told of cells that ended elsewhere.
        claims: of this driver.
    """

    def __init__(
        self,
        jobs: Jobs,
        find: Callable[[str], dict[str, Any] | None],
        answered: Callable[[Job, dict[str, Any]], None],
        claims: CellLocks,
    ) -> None:
        self._jobs, self._find, self._answered, self._claims = jobs, find, answered, claims
        self._waiting: list[Job] = []
        self._running: set[str] = set()
        self._ready: Job | None = None
        self._looked, self._idle = 0.0, False

    def next(self) -> Job | None:
        job, self._ready = self._ready or self._find_next(), None
        self._idle = job is None and not self._running
        return job

    def exhausted(self) -> bool:
        """Also when all that is left is run by others: a worker group kept for it may be what they wait for."""
        if self._ready is not None:
            return False
        return self._idle if self._waiting else self._jobs.exhausted()

    def wait(self, interrupt: Callable[[], bool]) -> None:
        """Wait until the others are done, or a cell of theirs is to be run here."""
        while self._waiting and self._ready is None and not interrupt():
            time.sleep(_LOOK_AGAIN / 4)
            self._ready = self.next()

    def left(self) -> int:
        """Cells that are still to come, as far as they are known; 0 when all have ended."""
        return len(self._waiting) + (self._ready is not None) + (not self._jobs.exhausted())

    def _find_next(self) -> Job | None:
        while (job := self._jobs.next()) is not None:
            if self._take(job):
                return job
        if time.monotonic() - self._looked < _LOOK_AGAIN:
            return None
        self._looked = time.monotonic()
        waiting, self._waiting = self._waiting, []
        while waiting:
            job = waiting.pop(0)
            if self._take(job):
                self._waiting += waiting
                return job
        return None

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        self._running.discard(job.cell)
        self._claims.release(job.cell)

    def _take(self, job: Job) -> bool:
        """Whether the job is this driver's to run now; else it is answered, or waits."""
        if job.cell not in self._running and self._claims.take(job.cell):
            found = self._find(job.cell)  # looked at under the lock: nobody can begin it after this
            if found is None:
                self._running.add(job.cell)
                return True
            self._claims.release(job.cell)
            self._answered(job, found)
            return False
        self._waiting.append(job)
        return False
