"""The jobs of a study: their sources, the listeners that are called for each cell, and the objective."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self


@dataclass(frozen=True)
class Job:
    """A cell as the engine needs it."""

    cell: str  # its hash
    name: str  # what people see: the variant and the seed
    config: dict[str, Any]
    seed: int
    variant: str = ""  # label of metrics, unless `series` is set
    moves: dict[str, Any] = field(
        default_factory=dict
    )  # dotted path -> first value, of settings that a population moves
    start: str | None = None  # cell of the pre-training whose backbone it starts from
    series: str | None = None  # label of metrics that many variants share
    data_set: str | None = None  # name of its data set, in a study on several

    def encode(self) -> str:
        """Return the job as JSON, which Tune can carry in a trial's config."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the job that `encode` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Objective:
    """The metric of a step's report by which the best checkpoint is chosen.

    Args:
        metric: its key in the report.
        mode: "max" or "min".
    """

    metric: str
    mode: str

    def is_better(self, value: float, than: float | None) -> bool:
        """Return whether a value beats another; any value beats None."""
        return than is None or (value > than if self.mode == "max" else value < than)


@dataclass(frozen=True)
class StepLimit:
    """How long the workers may take for a command before they count as hung and are replaced.

    By default an ordinary step may take 20 times as long as the slowest one before it, and at least ten minutes. Hours
    are left where there is nothing to compare with: while a task is built, which may compute the features of all
    images, in the first steps, and in the last step, which evaluates.

    Args:
        seconds: for every step, whatever it does; None: by the rule above. Infinity sets no limit.
        factor: times the slowest step so far.
        least: seconds that an ordinary step may take in any case.
        unknown: seconds where there is nothing to compare with.
    """

    seconds: float | None = None
    factor: float = 20.0
    least: float = 600.0
    unknown: float = 4 * 3600.0

    def of_step(self, slowest: float | None) -> float | None:
        """Return the limit in seconds; None if there is none.

        Args:
            slowest: seconds of the slowest step so far; None for a command that cannot be compared with it.

        >>> [StepLimit().of_step(slowest) for slowest in (1.0, 60.0, None)]
        [600.0, 1200.0, 14400.0]
        """
        limit = self.seconds
        if limit is None:
            limit = self.unknown if slowest is None else max(self.least, self.factor * slowest)
        return limit if math.isfinite(limit) else None


class Jobs(Protocol):
    """Where jobs come from, one at a time, as slots become free."""

    def next(self) -> Job | None:
        """Return the next job, or None when there is none at the moment."""

    def exhausted(self) -> bool:
        """Return whether no job will come any more, whatever happens to those that are running."""


class FixedJobs:
    """Jobs that are known beforehand, in their order."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._remaining = list(jobs)[::-1]

    def next(self) -> Job | None:
        """Return the next job in the given order, or None after the last one."""
        return self._remaining.pop() if self._remaining else None

    def exhausted(self) -> bool:
        """Return whether all jobs have been handed out."""
        return not self._remaining


class Listener:
    """Hears of every cell, in the driver's process. Override the events of interest; the others do nothing.

    An exception that a listener raises ends the study: no further cell is begun, and the driver raises it at the end.
    """

    def started(self, job: Job) -> None:
        """Called when a cell gets a slot: at its first attempt, after a lost worker group, and after a pause."""

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        """Called after each step except the last one of a cell.

        Args:
            job: the cell's.
            report: the task's report: iteration, loss, seconds, metrics of the held-out part.
            steps: how many steps the cell has.
        """

    def retried(self, job: Job, reason: str) -> None:
        """Called when a worker group was lost and the cell will be tried again; the reason is one line."""

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Called once per cell, when it has finished, failed, or was stopped by a scheduler.

        Args:
            job: the cell's.
            record: the cell's row of the results; "status" is "finished", "failed" or "stopped".
        """


class ListenerList(Listener):
    """Several listeners, called in order."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def started(self, job: Job) -> None:
        """Call `started` of each listener in order; an exception keeps the later ones from being called."""
        for listener in self._listeners:
            listener.started(job)

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        """Call `stepped` of each listener in order."""
        for listener in self._listeners:
            listener.stepped(job, report, steps)

    def retried(self, job: Job, reason: str) -> None:
        """Call `retried` of each listener in order."""
        for listener in self._listeners:
            listener.retried(job, reason)

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Call `ended` of each listener in order."""
        for listener in self._listeners:
            listener.ended(job, record)
