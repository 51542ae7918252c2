"""What a study runs in: a connection, decoded images, places for trials, and a store that every end goes to."""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ray.tune.schedulers import TrialScheduler
from rich.console import Console, RenderableType

from raysearch.core import environment
from raysearch.core.interrupt import Interrupt
from raysearch.data import class_splits
from raysearch.engine.cluster import budget, connection
from raysearch.engine.cluster.image_placement import Streamed, place_images
from raysearch.engine.drivers.locks import CellLocks, DedupJobs
from raysearch.engine.monitoring.counters import ProgressCounter
from raysearch.engine.monitoring.heartbeat_writer import HeartbeatWriter
from raysearch.engine.monitoring.prometheus import PersistentGauges, StudyMetrics
from raysearch.engine.monitoring.terminal import TerminalView
from raysearch.engine.options import Options, Run
from raysearch.engine.trials import tuner
from raysearch.engine.trials.jobs import FixedJobs, Job, Jobs, Listener, ListenerList
from raysearch.engine.trials.train_loop import ImageSource
from raysearch.models import backbones
from raysearch.runs import results
from raysearch.runs.checkpoints import FOLDER, Checkpoints
from raysearch.runs.objective import Objective
from raysearch.runs.study_record import CostRecord, PretrainingsRecord, SplitRecord
from raysearch.storage import Location, cache_dir
from raysearch.studies.configs import TASKS, RunConfig
from raysearch.studies.design import plan
from raysearch.studies.design.plan import Cell
from raysearch.tasks import registry


class Session:
    """A connected cluster on which cells of one study are run. Made by `opened`."""

    def __init__(
        self,
        run: Run,
        options: Options,
        demand: connection.TrialResources,
        source: ImageSource,
        console: Console,
        interrupt: Interrupt,
        table: Callable[[], RenderableType],
        heart: HeartbeatWriter,
    ) -> None:
        self._run, self._demand, self._source, self._opened = run, demand, source, time.time()
        self._table, self._console, self._interrupt, self._heart = table, console, interrupt, heart
        self._slots = connection.Slots(demand, options.concurrency)
        self._gauges = PersistentGauges()
        self._metrics: StudyMetrics | None = None
        self._storage = options.storage or str((run.directory / FOLDER).resolve())
        shown = Location.parse(self._storage)  # an unknown kind of URI is said now
        self._constant = {
            "data": run.manifest.content_hash,
            "environment": json.dumps({"versions": environment.versions(), "hardware": run.record.hardware}),
        }
        console.print(f"{self._slots()} trials at a time, checkpoints in {shown}")

    def cost(self, dollars: float) -> None:
        """Tell Prometheus what the study has cost."""
        if self._metrics is not None:
            self._metrics.set_cost(dollars)

    @property
    def storage(self) -> str:
        return self._storage

    def metric_ids(self, config: RunConfig) -> dict[str, str]:
        """Metric -> what exactly it is, of a run with this config."""
        return registry.metric_ids(config, self._source.splits.get(config.images, ""))

    def prepare(self, cells: Iterable[Cell], limit: float | None) -> bool:
        """Run the pre-trainings that cells start from and that are not at hand; False when the user stopped it.

        One that fails is a failed cell, and so is each that would have started from it.
        """
        wanted = plan.pre_trainings(cells)
        missing = [one for one in wanted if not self._at_hand(one.hash)]
        if not missing:
            return True
        self._console.print(f"{len(missing)} pre-trainings before that, which later studies share")
        objective = held_out_objective(missing[0].variant.config.task)
        jobs = FixedJobs(make_job(one) for one in missing)
        complete = self.execute(
            jobs, len(wanted) - len(missing), len(wanted), objective, limit, find=self._at_hand, name="pre-trainings"
        )
        ended = results.read_cells(self._run.directory / "cells", [one.hash for one in wanted]).values()
        self._run.record.pre_trainings = PretrainingsRecord(
            cells=len(ended), seconds=sum(one["seconds"] for one in ended)
        )
        return complete

    def execute(
        self,
        jobs: Jobs,
        done: int,
        total: int,
        objective: Objective | None,
        limit: float | None,
        listeners: Sequence[Listener] = (),
        scheduler: TrialScheduler | None = None,
        accept: Sequence[str] = ("finished",),
        find: Callable[[str], dict[str, Any] | None] | None = None,
        name: str = "cells",
    ) -> bool:
        """Run jobs to their end; returns False when the user stopped it.

        Args:
            jobs: where they come from.
            done: cells that had ended before, of `total`.
            total: cells that there will be.
            objective: of best checkpoints and of the scheduler.
            limit: seconds after which a silent worker counts as hung.
            listeners: who else hears of the cells, after they were stored.
            scheduler: stops cells early.
            accept: statuses with which a cell that ended before, or elsewhere, is an answer.
            find: the record of a cell that has ended, or None, instead of what `accept` says.
            name: what the cells are, to people.
        """
        tally = ProgressCounter(total, done, self._slots, name)
        view = TerminalView(tally, self._table, self._console)
        self._heart.follow(tally.snapshot)
        claims = CellLocks(self._run.directory.resolve().parent / ".claims")
        metrics = self._metrics = StudyMetrics(self._run.record.study, objective, self._gauges)
        metrics.set_plan(done, total)
        several = [tally, view, metrics, *listeners]
        answered = ListenerList(*several)
        shared = DedupJobs(jobs, find or (lambda cell: self._find(cell, accept)), answered.ended, claims)
        with view, contextlib.closing(claims), self._gauges:
            while True:
                complete = tuner.run_trials(
                    shared,
                    registry.build_from_plain,
                    self._source,
                    tuner.Capacity(self._slots, self._demand.workers, self._demand.cpus, self._demand.gpus),
                    ListenerList(_Store(self._store), shared, *several),
                    tuner.CheckpointPolicy(self._storage, objective, limit),
                    scheduler,
                    self._interrupt,
                )
                if complete and shared.left():
                    self._console.print(f"waiting for {shared.left()} cells that another sweep runs")
                    shared.wait(self._interrupt)
                if not complete or not shared.left() or self._interrupt():
                    whole = complete and not shared.left()
                    self._heart.stage_ended(whole)
                    return whole

    def _find(self, cell: str, accept: Sequence[str]) -> dict[str, Any] | None:
        """The cell's record, here or in a run beside this one; looked for by name, since a store can be large."""
        here, name = self._run.directory.resolve(), f"cells/{cell}.parquet"
        if not (here / name).is_file():
            if not any(here.parent.glob(f"*/{name}")):
                return None
            results.adopt(here, [cell])
        found = results.read_cells(here / "cells", [cell]).get(cell)
        if found is None or found["status"] in accept:
            return found
        # What failed before is asked for again; what another driver saw fail meanwhile would fail here too.
        fresh = found["status"] == "failed" and (here / name).stat().st_mtime >= self._opened
        return found if fresh else None

    def _at_hand(self, cell: str) -> dict[str, Any] | None:
        """The record of a pre-training whose state lies in the storage, here or brought from a run beside this one."""
        found = self._find(cell, ("finished",))
        if found is None or found["status"] != "finished":
            return found
        runs = self._run.directory.resolve().parent
        return found if Checkpoints(self._storage, cell).adopt(runs, _has_backbone) else None

    def _store(self, job: Job, record: dict[str, Any]) -> None:
        task = job.config["task"]
        # What cannot matter is left out, so that studies that share a cell agree on its config.
        plain = json.dumps(TASKS[task].config.model_validate(job.config).canonical())
        told = {"config": plain, "code_version": TASKS[task].version, **self._constant}
        results.write_cell(self._run.directory / "cells", {**record, **told})


class _Store(Listener):
    """Stores every end, before anybody else hears of it."""

    def __init__(self, store: Callable[[Job, dict[str, Any]], None]) -> None:
        self._store = store

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        self._store(job, record)


@contextlib.contextmanager
def open_session(
    run: Run,
    options: Options,
    configs: Sequence[RunConfig],
    console: Console,
    interrupt: Interrupt,
    table: Callable[[], RenderableType],
) -> Iterator[Session]:
    """Connect, decode what the configs ask for, and leave a complete `study.json` behind.

    Args:
        run: directory, data and record.
        options: where and how wide.
        configs: every size of images that cells will ask for is among them, and every file of weights.
        console: where to show what goes on.
        interrupt: whether the user wants to stop.
        table: draws what came out so far.
    """
    started, before = time.monotonic(), run.record.wall_seconds or 0.0
    for backbone, weights in {config.backbone for config in configs}:
        backbones.check_weights(backbone, weights)
    images = sorted({config.images for config in configs}, key=str)
    divided = {one: class_splits.partition_of(run.shards, one.split) for one in images if one.split is not None}
    with HeartbeatWriter(run.directory) as heart, connection.connected(options.address):
        meter = budget.CostMeter(run.directory / budget.COST_FILE)
        if options.max_cost is not None:
            budget.check_cost_limit(meter, options.max_cost)
        gpus = options.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if connection.has_gpu() else 0.0
        demand = connection.TrialResources(options.workers, 1, gpus)
        sets = place_images(images, divided, run, options, demand, console)
        demand = replace(demand, streams=any(isinstance(one, Streamed) for one in sets.values()))
        of_splits = [one for one in configs if one.images in divided]
        run.record.warnings = sorted({w for one in of_splits for w in divided[one.images].warnings(one.backbone[1])})
        for warning in run.record.warnings:
            console.print(f"[yellow]{warning}[/yellow]")
        run.record.hardware = connection.hardware()
        results.write_study(run.directory, run.record)
        splits = {one: found.identity for one, found in divided.items()}
        run.record.splits = {found.identity: SplitRecord(**found.record()) for found in divided.values()}
        source = ImageSource(sets, run.manifest.content_hash, cache_dir() / "features", splits)
        session = Session(run, options, demand, source, console, interrupt, table, heart)
        with budget.enforce_limits(meter, interrupt, options.max_cost, options.max_hours, session.cost):
            yield session
        run.record.cost = CostRecord(**meter.record())
    run.record.ended = datetime.now(UTC).isoformat(timespec="seconds")
    run.record.wall_seconds = before + time.monotonic() - started
    results.write_study(run.directory, run.record)


def _has_backbone(state: Mapping[str, Any]) -> bool:
    """Whether a state is that of a pre-training that has come to its end."""
    return state["task"].get("trunk") is not None


def held_out_objective(task: str) -> Objective:
    """What the best checkpoint of a task's cell is chosen by."""
    return Objective(TASKS[task].held_out, "max")


def make_job(cell: Cell, moves: Mapping[str, Any] | None = None) -> Job:
    """A cell as the engine needs it."""
    return Job(
        cell=cell.hash,
        name=f"{cell.variant.name} seed {cell.seed}",
        config=cell.variant.config.model_dump(mode="json"),
        seed=cell.seed,
        variant=cell.variant.name,
        start=cell.start.hash if cell.start else None,
        moves=dict(moves or {}),
    )
