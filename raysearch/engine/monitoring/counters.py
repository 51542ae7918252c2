"""The progress of a stage of a sweep, counted once for the terminal view and the run directory."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from raysearch.engine.trials.jobs import Job, Listener, Objective
from raysearch.runs import Note, RunningCell, Stage

_MAX_NOTES = 5  # failures and retries that are kept
_MAX_LOSSES = 60  # steps of a loss curve that are kept
_MAX_CHARACTERS = 500  # of an error
_FIGURES = ("images_per_second", "feed_wait_share", "gpu_memory_bytes")


class ProgressCounter(Listener):
    """Counts cells as they start, step and end. Any thread may call `snapshot()`.

    Args:
        total: cells of the stage.
        before: cells of `total` that ended earlier.
        slots: returns the number of trials at a time; called in the thread of the trial events.
        name: the name of the stage.
        objective: the metric whose mean and best value are followed.
    """

    def __init__(
        self,
        total: int,
        before: int,
        slots: Callable[[], int],
        name: str = "cells",
        objective: Objective | None = None,
    ) -> None:
        self._slots = slots
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._objective = objective
        self._sum = 0.0  # of the objective over finished cells
        self._count = 0
        self._stage = Stage(name, total, before, slots=slots(), metric=objective.metric if objective else None)
        self._running: dict[str, RunningCell] = {}
        self._failures: deque[Note] = deque(maxlen=_MAX_NOTES)
        self._retries: deque[Note] = deque(maxlen=_MAX_NOTES)
        self._seconds = 0.0  # of finished and stopped cells

    def set_total(self, total: int) -> None:
        """Correct the number of cells."""
        with self._lock:
            self._stage = replace(self._stage, total=total)

    def started(self, job: Job) -> None:
        """Add a cell that got a slot to the running ones."""
        with self._lock:
            self._add(job)
            self._stage = replace(self._stage, slots=self._slots())

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        """Update a running cell's step, figures and latest losses."""
        with self._lock:
            cell = self._add(job)
            losses = cell.losses
            loss = report.get("loss")
            if isinstance(loss, int | float) and math.isfinite(loss):
                losses = (*losses, float(loss))[-_MAX_LOSSES:]
            figures: dict[str, Any] = {name: report.get(name) for name in _FIGURES}
            self._running[job.cell] = replace(cell, step=report["iteration"], steps=steps, losses=losses, **figures)
            self._stage = replace(self._stage, slots=self._slots())

    def retried(self, job: Job, reason: str) -> None:
        """Count a retry and keep the end of its reason."""
        with self._lock:
            self._stage = replace(self._stage, retried=self._stage.retried + 1)
            self._retries.append(Note(job.name, reason[-_MAX_CHARACTERS:]))

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Count a cell by its status. Keep a failure's message, and the seconds of a cell that did not fail."""
        with self._lock:
            self._running.pop(job.cell, None)
            status = record["status"]
            assert status in ("finished", "stopped", "failed"), status
            self._stage = replace(self._stage, **{status: getattr(self._stage, status) + 1}, slots=self._slots())
            if status == "finished":
                self._follow_metric(record)
            if status == "failed":
                self._failures.append(Note(job.name, str(record["error"])[:_MAX_CHARACTERS]))
            else:
                self._seconds += record["seconds"]

    def snapshot(self) -> Stage:
        """Return the progress of this moment."""
        with self._lock:
            return replace(
                self._stage,
                seconds=time.monotonic() - self._started,
                seconds_left=self._seconds_left(),
                running=tuple(self._running.values()),
                failures=tuple(self._failures),
                retries=tuple(self._retries),
            )

    def _follow_metric(self, record: dict[str, Any]) -> None:
        """Update the mean and the best value of the metric by those of a finished cell."""
        objective = self._objective
        value = record.get(objective.metric) if objective else None
        if objective and isinstance(value, int | float) and math.isfinite(value):
            self._sum += value
            self._count += 1
            before = self._stage.metric_best
            better = max if objective.mode == "max" else min
            best = float(value) if before is None else better(before, float(value))
            self._stage = replace(self._stage, metric_mean=self._sum / self._count, metric_best=best)

    def _add(self, job: Job) -> RunningCell:
        """Return the running cell of a job. A cell that continues after a fault or a pause keeps its progress."""
        return self._running.setdefault(job.cell, RunningCell(job.cell, job.name, job.variant, time.time()))

    def _seconds_left(self) -> float | None:
        """Estimate the seconds left from the mean time of finished and stopped cells; None before one has finished."""
        stage = self._stage
        if not stage.finished:
            return None
        partly_done = sum(cell.share for cell in self._running.values())
        mean = self._seconds / (stage.finished + stage.stopped)
        return max(0.0, stage.total - stage.ended - partly_done) * mean / stage.slots
