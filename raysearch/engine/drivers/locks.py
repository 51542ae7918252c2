"""Jobs of a driver that is not alone: no cell runs twice, and cells that another driver runs are waited for.

The results store is a directory, and so are the locks beside it. While a driver runs a cell it holds a lock on a file
that is named after the cell. The kernel releases the lock when its holder dies, whatever killed it, so no lock has to
time out.
"""

import contextlib
import os
import pwd
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from raysearch.core import UserError, lock_file
from raysearch.engine.trials.jobs import Job, Jobs, Listener

_MOST_TRIES = 1000  # drivers that remove the folder at the same moment are few; a link that leads nowhere stays
_POLL_SECONDS = 2.0  # between two looks at cells that another driver runs


class CellLocks:
    """Locks on cells, held by this process.

    Args:
        folder: the folder of the lock files. Drivers whose runs are side by side share it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, BinaryIO] = {}

    def acquire(self, cell: str) -> bool:
        """Lock a cell, and return whether this process holds it; False if another driver does.

        Raises:
            UserError: the locks belong to another user, or cannot be made there.
        """
        if cell in self._held:
            return True
        for _ in range(_MOST_TRIES):
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._held[cell] = lock_file(self._folder / cell, create=True)
            except BlockingIOError:
                return False
            except (FileNotFoundError, FileExistsError) as error:  # another driver has just removed the folder
                last = error
                continue
            except OSError as error:
                raise self._refusal(error) from None
            return True
        raise self._refusal(last)

    def _refusal(self, error: OSError) -> UserError:
        """Return the error of a folder in which nothing can be locked."""
        owner = ""
        with contextlib.suppress(OSError, KeyError):
            uid = self._folder.lstat().st_uid
            if uid != os.geteuid():
                owner = f", which belongs to user {pwd.getpwuid(uid).pw_name}"
        return UserError(
            f"cannot lock cells in '{self._folder}'{owner} ({error.strerror or error}); remove it if no sweep runs, or "
            "give --out in a folder of your own"
        )

    def release(self, cell: str) -> None:
        """Unlock a cell, if this process holds it."""
        lock = self._held.pop(cell, None)
        if lock is not None:
            (self._folder / cell).unlink(missing_ok=True)
            lock.close()

    def close(self) -> None:
        """Unlock all cells, and remove the folder if no other driver uses it."""
        for cell in list(self._held):
            self.release(cell)
        try:
            self._folder.rmdir()
        except OSError:  # another driver holds a lock, or there was never one
            return


class DedupJobs(Listener):
    """Hands out jobs that nobody has run and nobody runs. It must hear of every end, after the results are stored.

    Args:
        jobs: the source of the jobs.
        find: returns the record of a cell that has ended, or None.
        on_found: is called with each job whose cell had ended elsewhere, and its record.
        locks: this driver's locks.
    """

    def __init__(
        self,
        jobs: Jobs,
        find: Callable[[str], dict[str, Any] | None],
        on_found: Callable[[Job, dict[str, Any]], None],
        locks: CellLocks,
    ) -> None:
        self._jobs = jobs
        self._find = find
        self._on_found = on_found
        self._locks = locks
        self._waiting: list[Job] = []  # whose cells another driver runs
        self._running: set[str] = set()
        self._ready: Job | None = None
        self._last_poll = 0.0
        self._idle = False

    def next(self) -> Job | None:
        """Return the next job that is this driver's to run; None if there is none at the moment."""
        job = self._ready or self._next_runnable()
        self._ready = None
        self._idle = job is None and not self._running
        return job

    def exhausted(self) -> bool:
        """Return whether no job is left for this driver.

        That is also the case when other drivers run all the rest: they may wait for the resources of a worker group
        that would be kept here for nothing.
        """
        if self._ready is not None:
            return False
        return self._idle if self._waiting else self._jobs.exhausted()

    def wait(self, interrupt: Callable[[], bool]) -> None:
        """Wait until the other drivers are done, or one of their cells is to be run here.

        Args:
            interrupt: returns whether to stop waiting.
        """
        while self._waiting and self._ready is None and not interrupt():
            time.sleep(_POLL_SECONDS / 4)
            self._ready = self.next()

    def remaining(self) -> int:
        """Return the number of cells still to come, as far as they are known; 0 when all have ended."""
        return len(self._waiting) + (self._ready is not None) + (not self._jobs.exhausted())

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Release the lock of a cell that ended, so that other drivers read its result."""
        self._running.discard(job.cell)
        self._locks.release(job.cell)

    def _next_runnable(self) -> Job | None:
        while (job := self._jobs.next()) is not None:
            if self._begin(job):
                return job
        if time.monotonic() - self._last_poll < _POLL_SECONDS:
            return None
        self._last_poll = time.monotonic()
        waiting = self._waiting
        self._waiting = []
        while waiting:
            job = waiting.pop(0)
            if self._begin(job):
                self._waiting += waiting
                return job
        return None

    def _begin(self, job: Job) -> bool:
        """Return whether the job is this driver's to run now. Otherwise its record was found, or it waits."""
        if job.cell in self._running or not self._locks.acquire(job.cell):
            self._waiting.append(job)
            return False
        record = self._find(job.cell)  # looked for under the lock: nobody can begin the cell after this
        if record is None:
            self._running.add(job.cell)
            return True
        self._locks.release(job.cell)
        self._on_found(job, record)
        return False
