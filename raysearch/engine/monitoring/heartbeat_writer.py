"""The heartbeat of a running sweep: a small file in the run directory, written after each change and now and then.

A thread writes it, because the driver's own thread may wait minutes for a step. It never fails a sweep: on a full disk
the results, which are the record, report the problem.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from raysearch.core import UserError, run_periodically
from raysearch.runs import heartbeat
from raysearch.runs.heartbeat import BEAT_SECONDS, Stage

_MIN_INTERVAL = 1.5  # seconds between two writes
_FORGET_SECONDS = 600.0  # of silence, after which the next process removes a file
_MAX_CHARACTERS = 500  # of an error


class HeartbeatWriter:
    """Writes the progress of a sweep while the context is entered.

    Args:
        run_dir: the run directory.
        interval: seconds between two writes at least.
    """

    def __init__(self, run_dir: Path, interval: float = _MIN_INTERVAL) -> None:
        self._run_dir = run_dir
        self._interval = interval
        # The host's name is part of a file's name.
        host = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in socket.gethostname())
        now = time.time()
        self._written = heartbeat.Heartbeat(host.lstrip(".") or "host", os.getpid(), now, now, "starting")
        self._snapshot: Callable[[], Stage] | None = None
        self._complete = True
        self._repetition = contextlib.ExitStack()

    def __enter__(self) -> "HeartbeatWriter":
        self._remove_old_files()
        self._write("starting")
        self._repetition.enter_context(run_periodically(self._beat, self._interval))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._repetition.close()
        if error is None:
            self._write("ended" if self._complete else "stopped")
        elif isinstance(error, KeyboardInterrupt):
            self._write("stopped")
        else:
            text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._write("failed", " ".join(text.split())[:_MAX_CHARACTERS])

    def follow(self, snapshot: Callable[[], Stage]) -> None:
        """Write this stage from now on.

        Args:
            snapshot: returns its progress; called in another thread.
        """
        self._snapshot = snapshot

    def stage_ended(self, complete: bool) -> None:
        """Note whether the stage came to its end, or the user stopped it."""
        self._complete = complete

    def _beat(self) -> None:
        stage = self._snapshot() if self._snapshot else None
        changed = _without_times(stage) != _without_times(self._written.stage)
        if changed or time.time() - self._written.beat >= BEAT_SECONDS:
            self._write("running" if stage else "starting")

    def _write(self, state: str, error: str | None = None) -> None:
        stage = self._snapshot() if self._snapshot else None
        self._written = replace(self._written, beat=time.time(), state=state, error=error, stage=stage)
        with contextlib.suppress(OSError):
            heartbeat.write_heartbeat(self._run_dir, self._written)

    def _remove_old_files(self) -> None:
        """Remove the files of processes that are done, or silent for so long that they must be gone."""
        for other in heartbeat.read_heartbeats(self._run_dir):
            if other.done or time.time() - other.beat > _FORGET_SECONDS:
                with contextlib.suppress(OSError):
                    (self._run_dir / heartbeat.FOLDER / f"{other.key}.json").unlink()


def _without_times(stage: Stage | None) -> Stage | None:
    """Return a stage without its times, which always change and alone are no reason to write."""
    return replace(stage, seconds=0.0, seconds_left=None) if stage else None
