"""What the engine runs: jobs, where they come from, and who is told what became of them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self


@dataclass(frozen=True)
class Job:
    """A cell as the engine needs it."""

    cell: str
    name: str  # what people see: the variant and the seed
    config: dict[str, Any]
    seed: int
    variant: str = ""  # label of metrics, unless `series` says another
    moves: dict[str, Any] = field(default_factory=dict)  # dotted path -> value, which a population changes on the way
    start: str | None = None  # cell of the pre-training whose trunk it starts from
    series: str | None = None  # label of metrics that many variants share

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Self:
        return cls(**json.loads(text))


class Jobs(Protocol):
    """Where jobs come from, one by one, as places for them become free."""

    def next(self) -> Job | None:
        """The next job; None when there is none at the moment."""

    def exhausted(self) -> bool:
        """Whether no job will come any more, whatever happens to those that are running."""


class Listener:
    """What happens to cells; override what is of interest."""

    def started(self, job: Job) -> None: ...

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None: ...

    def retried(self, job: Job, reason: str) -> None: ...

    def ended(self, job: Job, record: dict[str, Any]) -> None: ...


class ListenerList(Listener):
    """Tells several listeners, in order."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def started(self, job: Job) -> None:
        for one in self._listeners:
            one.started(job)

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        for one in self._listeners:
            one.stepped(job, report, steps)

    def retried(self, job: Job, reason: str) -> None:
        for one in self._listeners:
            one.retried(job, reason)

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        for one in self._listeners:
            one.ended(job, record)


class FixedJobs:
    """Jobs that are known beforehand, in their order."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._left = list(jobs)[::-1]

    def next(self) -> Job | None:
        return self._left.pop() if self._left else None

    def exhausted(self) -> bool:
        return not self._left
