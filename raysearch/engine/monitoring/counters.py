"""What goes on in a stage of a sweep, counted: the terminal view and the run directory tell the same story from it."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from raysearch.engine.trials.jobs import Job, Listener
from raysearch.runs.heartbeat import Note, RunningCell, Stage

_KEPT = 5  # failures and retries that are still told
_LONGEST = 60  # steps of a curve that is told
_CHARACTERS = 500  # of an error
_TOLD = ("images_per_second", "feed_wait_share", "gpu_memory_bytes")


class ProgressCounter(Listener):
    """Counts cells as they start, step and end. Any thread may ask `now()`.

    Args:
        total: cells that there will be.
        before: cells of them that had ended before.
        slots: trials at a time; asked in the thread that tells of the cells.
        name: of the stage.
    """

    def __init__(self, total: int, before: int, slots: Callable[[], int], name: str = "cells") -> None:
        self._slots, self._started, self._lock = slots, time.monotonic(), threading.Lock()
        self._stage = Stage(name, total, before, slots=slots())
        self._running: dict[str, RunningCell] = {}
        self._failures: deque[Note] = deque(maxlen=_KEPT)
        self._retries: deque[Note] = deque(maxlen=_KEPT)
        self._seconds = 0.0  # that finished and stopped cells took

    def started(self, job: Job) -> None:
        with self._lock:
            self._begin(job)
            self._stage = replace(self._stage, slots=self._slots())

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        with self._lock:
            losses = self._begin(job).losses
            if isinstance(loss := report.get("loss"), int | float) and math.isfinite(loss):
                losses = (*losses, float(loss))[-_LONGEST:]
            told: dict[str, Any] = {name: report.get(name) for name in _TOLD}
            self._running[job.cell] = replace(
                self._running[job.cell], step=report["iteration"], steps=steps, losses=losses, **told
            )
            self._stage = replace(self._stage, slots=self._slots())

    def retried(self, job: Job, reason: str) -> None:
        with self._lock:
            self._stage = replace(self._stage, retried=self._stage.retried + 1)
            self._retries.append(Note(job.name, reason[-_CHARACTERS:]))

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        with self._lock:
            self._running.pop(job.cell, None)
            status = record["status"]
            assert status in ("finished", "stopped", "failed"), status
            self._stage = replace(self._stage, **{status: getattr(self._stage, status) + 1}, slots=self._slots())
            if status == "failed":
                self._failures.append(Note(job.name, str(record["error"])[:_CHARACTERS]))
            else:
                self._seconds += record["seconds"]

    def snapshot(self) -> Stage:
        """How things stand."""
        with self._lock:
            return replace(
                self._stage,
                seconds=time.monotonic() - self._started,
                seconds_left=self._left(),
                running=tuple(self._running.values()),
                failures=tuple(self._failures),
                retries=tuple(self._retries),
            )

    def _begin(self, job: Job) -> RunningCell:
        """A cell that goes on, after a fault or a pause, is where it was."""
        return self._running.setdefault(job.cell, RunningCell(job.cell, job.name, job.variant, time.time()))

    def _left(self) -> float | None:
        """Seconds that the rest will take, if its cells take what those did that trained; None before one has."""
        stage = self._stage
        if not stage.finished:
            return None
        done = sum(one.share for one in self._running.values())
        mean = self._seconds / (stage.finished + stage.stopped)
        return max(0.0, stage.total - stage.ended - done) * mean / stage.slots
