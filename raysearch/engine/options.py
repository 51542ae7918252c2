"""Where a study runs and how wide, and the context that all parts of the engine share.

This module imports no Ray, so that a command with nothing to run does not start it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from rich.console import Console, RenderableType

from raysearch.core import Interrupt, UserError
from raysearch.data.feed_mode import STORE_SHARE, FeedMode
from raysearch.data.shards import NO_DATA, Manifest
from raysearch.engine.trials.jobs import Listener
from raysearch.messages import Message
from raysearch.runs import StudyRecord, results
from raysearch.runs.retention import FOLDER, Keep
from raysearch.storage import Location
from raysearch.studies.analysis import devices


def cluster_address(address: str | None) -> str | None:
    """Return the address of the cluster to join: the one given, or RAY_ADDRESS; None is Ray on this machine.

    `ray job submit` sets RAY_ADDRESS.
    """
    return address or os.environ.get("RAY_ADDRESS")


def check_gpus(workers: int, gpus: float | None) -> None:
    """Check how many GPUs a worker may have.

    Args:
        workers: per trial.
        gpus: per worker; None is chosen later.

    Raises:
        UserError: a worker would leave a GPU idle, or several workers of a trial would share one.
    """
    if gpus is not None and gpus > 1:
        raise UserError(
            f"--gpus-per-worker {gpus:g}: a worker computes on one GPU, the others would be idle; use --workers "
            f"{gpus * workers:g} --gpus-per-worker 1 for one trial on several GPUs"
        )
    if gpus is not None and 0 < gpus < 1 < workers:
        raise UserError(
            f"--workers {workers} --gpus-per-worker {gpus:g}: share a GPU between trials, not between the workers of "
            f"one trial; use --workers 1 --gpus-per-worker {gpus:g}, or --workers {workers} --gpus-per-worker 1"
        )


@dataclass(frozen=True)
class Options:
    """How a study runs, from the command line. Only `workers` and the kind of device change a cell's outcome.

    Raises:
        UserError: GPUs that the workers cannot use; see `check_gpus`.
    """

    workers: int = 1  # Ray Train workers per trial
    gpus_per_worker: float | None = None  # None: one, if the cluster has any
    concurrency: int | None = None  # most trials at a time
    address: str | None = None  # a cluster's address; None is this machine
    storage: str | None = None  # path or URI of the checkpoints; None is the run directory
    feed: FeedMode | None = None  # how images come to the workers; None: resident if they fit
    store_share: float = STORE_SHARE  # share of the object store for decoded images
    max_cost: float | None = None  # dollars that the whole study may cost
    max_hours: float | None = None  # hours that this call may take
    retry_failed: bool = False  # run cells again that failed before
    adopt: bool = True  # take over cells that runs beside this one have finished
    learn: bool = True  # let a search learn from finished cells of other runs
    learn_from: tuple[Path, ...] = ()  # directories of these runs; empty: the runs beside this one
    keep: Keep | None = None  # checkpoints of finished cells that stay; None: all
    trackers: tuple[str, ...] = ()  # that the study is logged to; see `engine.trackers`
    dashboard: bool = False  # start the dashboard of Ray on this machine
    effect: float | None = None  # whose seeds a dry run counts
    pilot: Path | None = None  # run whose spread and cost a dry run takes; None: this run's

    def __post_init__(self) -> None:
        check_gpus(self.workers, self.gpus_per_worker)

    @property
    def accepted_statuses(self) -> tuple[str, ...]:
        """Statuses with which a cell that ended before is not run again."""
        return ("finished",) if self.retry_failed else ("finished", "failed")


@dataclass(frozen=True)
class DataSet:
    """A data set that cells run on."""

    shards: Location | None  # None: the task loads its own data
    manifest: Manifest


@dataclass(frozen=True)
class Run:
    """A run directory, the data of the run, and its record, which becomes `study.json`."""

    directory: Path
    shards: Location | None  # None: the task loads its own data, or there are several sets
    manifest: Manifest
    record: StudyRecord  # completed while the study runs
    sets: Mapping[str, DataSet] = field(default_factory=dict)  # by name, of a study on several

    @classmethod
    def on_data(cls, directory: Path, record: StudyRecord, data: Mapping[str | None, DataSet]) -> Self:
        """Return a run on a single data set, whose name is None, or on several."""
        if None in data:
            return cls(directory, data[None].shards, data[None].manifest, record)
        return cls(directory, None, NO_DATA, record, {str(name): data_set for name, data_set in data.items()})

    @property
    def data_sets(self) -> dict[str | None, DataSet]:
        """The data sets by name; a single one has the name None."""
        return dict(self.sets.items()) if self.sets else {None: DataSet(self.shards, self.manifest)}

    @property
    def device(self) -> str:
        """The kind of device that computes the cells: "cpu" or "cuda"."""
        return self.record.device or "cpu"

    @property
    def cells(self) -> Path:
        """The directory with a file per cell that has ended."""
        return self.directory / "cells"

    def write_record(self) -> None:
        """Write the record to `study.json`."""
        results.write_study(self.directory, self.record)

    def continue_record(self, *names: str) -> None:
        """Copy into the record what earlier calls measured of the same run. All else comes from the study at hand.

        Args:
            names: further entries to keep until this call has new ones.
        """
        if not (self.directory / "study.json").exists():
            self.record.started = datetime.now(UTC).isoformat(timespec="seconds")
            self.record.adopted = 0
            return
        measured = ("started", "ended", "wall_seconds", "hardware", "adopted", "adopted_from", "cost", *names)
        self.record.take_over(results.read_study(self.directory), measured)

    def note_adopted(self, counts: Mapping[str, int]) -> None:
        """Add cells to the record that were taken over from other runs.

        Args:
            counts: directory of the other run -> cells.
        """
        before = self.record.adopted_from
        self.record.adopted = (self.record.adopted or 0) + sum(counts.values())
        self.record.adopted_from = before | {name: before.get(name, 0) + count for name, count in counts.items()}


@dataclass(frozen=True)
class RunContext:
    """What all parts of a running study share, from the command to the placement of images."""

    run: Run
    options: Options
    console: Console
    interrupt: Interrupt  # whether the user wants to stop
    draw_table: Callable[[], RenderableType] = str  # draws the results so far, for the terminal
    tracking: Listener = field(default_factory=Listener)  # hands cells to the trackers
    emit: Callable[[Message], None] | None = None  # takes the progress, for programs; None: there is none

    @property
    def checkpoints(self) -> str:
        """The path or URI of the run's checkpoints."""
        return self.options.storage or str((self.run.directory / FOLDER).resolve())

    def accepts(self, record: Mapping[str, Any]) -> bool:
        """Return whether a cell that ended before need not run again.

        A cell that failed for a reason that is no result, such as a missing file, always runs again. So does one that
        an earlier version computed on the other kind of device under the same hash.
        """
        return record["status"] in self.options.accepted_statuses and self.is_result(record)

    def is_result(self, record: Mapping[str, Any]) -> bool:
        """Return whether the end of a cell is a result of this study, whether it finished or failed."""
        if record["status"] == "stopped" or devices.is_foreign(record, self.run.device):
            return False
        return not results.failed_by_input(self.run.cells, record)
