"""Heartbeats: the progress of running sweeps, in files of the run directory.

Each process that works on a run replaces a small file of its own, `progress/<host>-<pid>.json`. So two sweeps of one
run never overwrite each other, and a reader needs only the directory. The file is a message, not a record:
results do not depend on it.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from raysearch.core import atomic, open_below

FOLDER = "progress"
BEAT_SECONDS = 5.0  # between two writes if nothing happens
QUIET_SECONDS = 30.0  # without a write, after which a process may be gone: some beats of a busy machine
_MAX_BYTES = 1 << 22  # of a file; the progress of a hundred cells takes a hundredth of that
STATES = ("starting", "running", "ended", "stopped", "failed")


@dataclass(frozen=True)
class RunningCell:
    """A running cell.

    Args:
        cell: its hash.
        name: variant and seed.
        variant: name of the variant.
        since: seconds since 1970.
        step: steps done.
        steps: steps of the cell; 0 before the first report.
        images_per_second: the images per second of the last step, over all workers.
        feed_wait_share: share of the last step spent waiting for images.
        gpu_memory_bytes: peak of the last step.
        losses: one per step; the last ones of a long cell.
    """

    cell: str
    name: str
    variant: str
    since: float
    step: int = 0
    steps: int = 0
    images_per_second: float | None = None
    feed_wait_share: float | None = None
    gpu_memory_bytes: int | None = None
    losses: Sequence[float] = ()

    @property
    def share(self) -> float:
        """The part of the cell that is done, from 0 to 1."""
        return min(1.0, self.step / self.steps) if self.steps else 0.0


@dataclass(frozen=True)
class Note:
    """An event of a cell: a failure or a retry."""

    name: str
    text: str


@dataclass(frozen=True)
class Stage:
    """A stage of a sweep: its cells, the pre-training before them, or the final evaluation after a search.

    >>> Stage("cells", 4, running=(RunningCell("c", "a", "a", 0.0, images_per_second=90.0),)).images_per_second
    90.0
    """

    name: str
    total: int  # cells
    before: int = 0  # cells of `total` that ended before this process started
    finished: int = 0
    stopped: int = 0
    failed: int = 0
    retried: int = 0
    slots: int = 0  # trials at a time
    seconds: float = 0.0  # since the stage started
    seconds_left: float | None = None
    running: Sequence[RunningCell] = ()
    failures: Sequence[Note] = ()  # the latest
    retries: Sequence[Note] = ()  # the latest
    metric: str | None = None  # that the study is about
    metric_mean: float | None = None  # over the cells that finished in this process; None before the first
    metric_best: float | None = None

    @property
    def ended(self) -> int:
        """Cells that have ended, however they ended."""
        return self.before + self.finished + self.stopped + self.failed

    @property
    def images_per_second(self) -> float | None:
        """The sum over the running cells; None before the first report."""
        speeds = [cell.images_per_second for cell in self.running if cell.images_per_second is not None]
        return sum(speeds) if speeds else None

    @property
    def feed_wait_share(self) -> float | None:
        """The mean over the running cells; None before the first report."""
        shares = [cell.feed_wait_share for cell in self.running if cell.feed_wait_share is not None]
        return sum(shares) / len(shares) if shares else None

    @property
    def gpu_memory_bytes(self) -> int | None:
        """The largest of the running cells; None before the first report."""
        return max((cell.gpu_memory_bytes for cell in self.running if cell.gpu_memory_bytes is not None), default=None)


@dataclass(frozen=True)
class Heartbeat:
    """The heartbeat of one process."""

    host: str
    pid: int
    started: float  # seconds since 1970
    beat: float  # when it was written, by the clock of `host`
    state: str  # one of STATES
    error: str | None = None  # if the state is "failed"
    stage: Stage | None = None

    @property
    def key(self) -> str:
        """The name of the process, unique on its network."""
        return f"{self.host}-{self.pid}"

    @property
    def done(self) -> bool:
        """Whether the process has reported its end."""
        return self.state not in ("starting", "running")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the heartbeat that `encode` wrote.

        Raises:
            ValueError, TypeError, KeyError: the text is something else.
        """
        fields = json.loads(text)
        stage = fields.pop("stage")
        return cls(**fields, stage=_decode_stage(stage) if stage else None)

    def encode(self) -> str:
        """Return the heartbeat as JSON."""
        return json.dumps(asdict(self))


def write_heartbeat(run_dir: Path, progress: Heartbeat) -> Path:
    """Replace the file of a process; return its path.

    Raises:
        OSError: it cannot be written.
    """
    path = run_dir / FOLDER / f"{progress.key}.json"
    return atomic.write_text(path, progress.encode())


def read_heartbeats(run_dir: Path) -> list[Heartbeat]:
    """Return the heartbeats of a run's processes, the latest last. Files that cannot be read are left out.

    >>> read_heartbeats(Path("nowhere"))
    []
    """
    heartbeats = []
    for path in sorted((run_dir / FOLDER).glob("[!.]*.json")):
        try:
            with open_below(path.parent, path.name) as file:
                heartbeat = Heartbeat.decode(file.read(_MAX_BYTES).decode())
            if heartbeat.key == path.stem:  # it could name a file elsewhere, which would be removed as an old one
                heartbeats.append(heartbeat)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            continue  # removed meanwhile, or written by another version
    return sorted(heartbeats, key=lambda heartbeat: heartbeat.beat)


def working(run_dir: Path) -> list[Heartbeat]:
    """Return the heartbeats of the processes that work on a run now, by the clock of this machine.

    >>> working(Path("nowhere"))
    []
    """
    now = time.time()
    return [beat for beat in read_heartbeats(run_dir) if not beat.done and now - beat.beat < QUIET_SECONDS]


def _decode_stage(fields: dict[str, Any]) -> Stage:
    lists = {"running": RunningCell, "failures": Note, "retries": Note}
    items = {name: tuple(kind(**item) for item in fields[name]) for name, kind in lists.items()}
    return Stage(**fields | items)
