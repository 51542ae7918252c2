"""Progress as messages, for programs and notebooks: one for each cell that ends, and one now and then in between."""

import math
import time
from collections.abc import Callable
from typing import Any

from raysearch.engine.monitoring.counters import ProgressCounter
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.messages import CellMessage, Message, progress_message

_INTERVAL = 5.0  # seconds between messages while no cell ends


class EventEmitter(Listener):
    """Emits a message of progress when a stage begins, when a cell ends, and now and then while cells run.

    Args:
        emit: called with each message, in the driver's thread.
        counter: counts the cells. It must hear of each event before this listener.
        metric: of the study, whose value a finished cell is reported with.
    """

    def __init__(self, emit: Callable[[Message], None], counter: ProgressCounter, metric: str | None) -> None:
        self._emit = emit
        self._counter = counter
        self._metric = metric
        self._emitted = -math.inf

    def started(self, job: Job) -> None:
        """Emit the progress if it is due."""
        self._emit_due()

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        """Emit the progress if it is due."""
        self._emit_due()

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Emit the cell and the progress."""
        value = record.get(self._metric or "")
        is_number = isinstance(value, int | float) and math.isfinite(value)
        self._emit(
            CellMessage(
                cell=job.cell,
                variant=job.variant,
                seed=job.seed,
                status=record["status"],
                value=value if is_number else None,
                seconds=record.get("seconds"),
                error=None if record.get("error") is None else str(record["error"]),
            )
        )
        self._emit_progress()

    def _emit_due(self) -> None:
        if time.monotonic() - self._emitted >= _INTERVAL:
            self._emit_progress()

    def _emit_progress(self) -> None:
        self._emitted = time.monotonic()
        self._emit(progress_message(self._counter.snapshot()))
