"""What a running sweep says of itself in its run directory: what the ended cells and `study.json` cannot say.

Each process that works on a run replaces a small file of its own, `progress/<host>-<pid>.json`, so two sweeps of one
run never write over each other, and a reader needs nothing but the directory. The file is a message, never a record:
results do not depend on it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from raysearch.core import atomic

FOLDER = "progress"
BEAT_SECONDS = 5.0  # seconds between writings when nothing happens
QUIET_SECONDS = 30.0  # seconds without a writing after which a process may be gone: some beats of a busy machine
STATES = ("starting", "running", "ended", "stopped", "failed")


@dataclass(frozen=True)
class RunningCell:
    """A cell that runs."""

    cell: str
    name: str  # variant and seed
    variant: str
    since: float  # seconds since 1970
    step: int = 0  # steps done
    steps: int = 0  # steps there are; 0 before the first has been reported
    images_per_second: float | None = None  # of the last step, over all workers
    feed_wait_share: float | None = None  # of the last step
    gpu_memory_bytes: int | None = None  # peak of the last step
    losses: Sequence[float] = ()  # a step each, the last ones of a long cell

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        return min(1.0, self.step / self.steps) if self.steps else 0.0


@dataclass(frozen=True)
class Note:
    """What happened to a cell."""

    name: str
    text: str


@dataclass(frozen=True)
class Stage:
    """A stage of a sweep: its cells, or the pre-trainings before them, or the judging after a search.

    >>> Stage("cells", 4, running=(Running("c", "a seed 0", "a", 0.0, images_per_second=90.0),)).images_per_second
    90.0
    """

    name: str
    total: int  # cells
    before: int = 0  # of them had ended before this process began
    finished: int = 0
    stopped: int = 0
    failed: int = 0
    retried: int = 0
    slots: int = 0  # trials at a time
    seconds: float = 0.0  # that the stage has taken
    seconds_left: float | None = None
    running: Sequence[RunningCell] = ()
    failures: Sequence[Note] = ()  # the last ones
    retries: Sequence[Note] = ()  # the last ones

    @property
    def ended(self) -> int:
        return self.before + self.finished + self.stopped + self.failed

    @property
    def images_per_second(self) -> float | None:
        """Of all running cells together."""
        speeds = [one.images_per_second for one in self.running if one.images_per_second is not None]
        return sum(speeds) if speeds else None

    @property
    def feed_wait_share(self) -> float | None:
        """Mean over the running cells."""
        shares = [one.feed_wait_share for one in self.running if one.feed_wait_share is not None]
        return sum(shares) / len(shares) if shares else None

    @property
    def gpu_memory_bytes(self) -> int | None:
        """Of the running cell that takes most."""
        return max((one.gpu_memory_bytes for one in self.running if one.gpu_memory_bytes is not None), default=None)


@dataclass(frozen=True)
class Heartbeat:
    """What one process says."""

    host: str
    pid: int
    started: float  # seconds since 1970
    beat: float  # when it was written, by the clock of `host`
    state: str  # one of STATES
    error: str | None = None  # of state "failed"
    stage: Stage | None = None

    @property
    def key(self) -> str:
        return f"{self.host}-{self.pid}"

    @property
    def done(self) -> bool:
        """Whether the process has said that it is done."""
        return self.state not in ("starting", "running")

    @classmethod
    def decode(cls, text: str) -> Self:
        """What `encode` made.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        found = json.loads(text)
        stage = found.pop("stage")
        return cls(**found, stage=_stage(stage) if stage else None)

    def encode(self) -> str:
        return json.dumps(asdict(self))


def write_heartbeat(run_dir: Path, progress: Heartbeat) -> Path:
    """Replace the file of this process."""
    path = run_dir / FOLDER / f"{progress.key}.json"
    return atomic.replace_file(path, lambda temporary: temporary.write_text(progress.encode()))


def read_heartbeats(run_dir: Path) -> list[Heartbeat]:
    """What the processes of a run say, the latest last. What cannot be read is left out: it is no record.

    >>> read(Path("nowhere"))
    []
    """
    found = []
    for path in sorted((run_dir / FOLDER).glob("[!.]*.json")):
        try:
            found.append(Heartbeat.decode(path.read_text()))
        except (OSError, ValueError, TypeError, KeyError):  # removed meanwhile, or of another version
            continue
    return sorted(found, key=lambda one: one.beat)


def _stage(found: dict[str, Any]) -> Stage:
    lists = {"running": RunningCell, "failures": Note, "retries": Note}
    return Stage(**found | {name: tuple(kind(**one) for one in found[name]) for name, kind in lists.items()})
