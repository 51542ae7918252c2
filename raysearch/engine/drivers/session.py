"""What a study runs in: a connection to Ray, decoded images, slots for trials, and a store that every cell goes to."""

import contextlib
import functools
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from raysearch.core import UserError
from raysearch.engine.cluster import budget, capacity, connection
from raysearch.engine.cluster.capacity import TrialResources
from raysearch.engine.cluster.image_placement import Streamed
from raysearch.engine.drivers import session_data
from raysearch.engine.drivers.cell_store import CellStore
from raysearch.engine.drivers.checkpoint_reducer import CheckpointReducer
from raysearch.engine.drivers.failure_guard import FailedAlike, FailureGuard, how_to_go_on
from raysearch.engine.drivers.locks import CellLocks, DedupJobs
from raysearch.engine.monitoring import counters, heartbeat_writer, prometheus, terminal
from raysearch.engine.monitoring.events import EventEmitter
from raysearch.engine.options import RunContext, cluster_address
from raysearch.engine.trials.image_source import ImageSource
from raysearch.engine.trials.jobs import FixedJobs, Job, Jobs, Listener, ListenerList, Objective, StepLimit
from raysearch.models import backbone_specs
from raysearch.runs import CostRecord, PretrainingsRecord, results
from raysearch.storage import Location, cache_dir
from raysearch.studies.configs import TASKS, RunConfig
from raysearch.studies.design import Cell, Variant, pre_trainings
from raysearch.tasks import builders, metric_definitions

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

FindCell = Callable[[str], dict[str, Any] | None]  # cell -> its record, if it has ended


@dataclass(frozen=True)
class Stage:
    """Jobs that a session runs to their end."""

    jobs: Jobs
    done: int  # cells that had ended before, of `total`
    total: int | Callable[[], int]  # cells that there will be, as far as it is known
    objective: Objective | None  # chooses the best checkpoints, and is the scheduler's metric
    limit: float | None  # seconds after which a silent worker counts as hung; None: by the slowest step so far
    listeners: Sequence[Listener] = ()  # called after the cells were stored
    scheduler: "TrialScheduler | None" = None  # stops cells early
    accept: Sequence[str] = ("finished",)  # statuses with which a cell that ended before, or elsewhere, is not run
    find: FindCell | None = None  # instead of a search for cells with an accepted status
    name: str = "cells"  # what people call the jobs
    shown: Objective | None = None  # the metric that the terminal follows; None: the objective

    def count_cells(self) -> int:
        """Return the number of cells that there will be, as far as it is known now."""
        return self.total() if callable(self.total) else self.total


class _TotalUpdater(Listener):
    """Corrects the number of cells as a search goes on: early stopping skips seeds, and suggestions repeat."""

    def __init__(self, stage: Stage, counter: counters.ProgressCounter, metrics: prometheus.StudyMetrics) -> None:
        self._stage = stage
        self._counter = counter
        self._metrics = metrics

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Count again."""
        if callable(self._stage.total):
            total = self._stage.count_cells()
            self._counter.set_total(total)
            self._metrics.set_total(total)


class Session:
    """A connected cluster on which the cells of one study run. `open_session` makes it.

    Args:
        context: the run, its options, the console and the interrupt.
        demand: the resources of a trial.
        source: the source of the images.
        heartbeat: follows each stage.
    """

    def __init__(
        self,
        context: RunContext,
        demand: TrialResources,
        source: ImageSource,
        heartbeat: heartbeat_writer.HeartbeatWriter,
    ) -> None:
        self._context = context
        self._demand = demand
        self._source = source
        self._heartbeat = heartbeat
        self._slots = capacity.Slots(demand, context.options.concurrency)
        self._gauges = prometheus.PersistentGauges()
        self._metrics: prometheus.StudyMetrics | None = None
        self.storage = context.checkpoints
        location = Location.parse(self.storage)  # raises for an unknown kind of URI
        self._store = CellStore(context.run, self.storage, context.options.adopt, context.options.learn_from)
        context.console.print(f"{self._slots()} trials at a time, checkpoints in {location}")
        if self._slots.small_head:
            context.console.print(self._slots.small_head, style="yellow")

    def set_cost(self, dollars: float) -> None:
        """Report to Prometheus what the study has cost."""
        if self._metrics is not None:
            self._metrics.set_cost(dollars)

    def metric_ids(self, config: RunConfig) -> dict[str, str]:
        """Return the exact definition of each metric of a run with this config, on the first data set if several."""
        first = next(iter(self._source.sets.values()))
        return metric_definitions.metric_ids(config, first.splits.get(config.images, ""))

    def can_run(self, cell: Cell) -> bool:
        """Return whether the data set of a cell could be opened."""
        return cell.variant.data_set in self._source.sets

    def prepare(self, cells: Iterable[Cell], limit: float | None) -> bool:
        """Run the pre-trainings that cells start from and that have not ended; return False when the user stopped it.

        A pre-training that fails is a failed cell, and so is each cell that would have started from it.

        Args:
            cells: the cells that will run.
            limit: seconds after which a silent worker counts as hung.
        """
        needed = pre_trainings(cells)
        missing = [cell for cell in needed if not self._store.find_pre_training(cell.hash)]
        if not missing:
            return True
        self._context.console.print(f"{len(missing)} pre-trainings before that, which later studies share")
        stage = Stage(
            jobs=fixed_jobs(missing),
            done=len(needed) - len(missing),
            total=len(needed),
            objective=held_out_objective(missing[0].variant.config.task),
            limit=limit,
            find=self._store.find_pre_training,
            name="pre-trainings",
        )
        complete = self.execute(stage)
        records = results.read_cells(self._context.run.cells, [cell.hash for cell in needed]).values()
        if records and all(results.failed_by_input(self._context.run.cells, record) for record in records):
            error = str(next(iter(records))["error"])
            raise FailedAlike(f"no pre-training could be run, so no cell was begun: {error}; {how_to_go_on(error)}")
        self._context.run.record.pre_trainings = PretrainingsRecord(
            cells=len(records), seconds=sum(record["seconds"] for record in records)
        )
        return complete

    def _any_finished(self) -> bool:
        """Return whether a cell of the study has finished, in this call or before."""
        run = self._context.run
        records = results.read_cells(run.cells, [cell.cell for cell in run.record.cells])
        return any(record["status"] == "finished" for record in records.values())

    def execute(self, stage: Stage) -> bool:
        """Run the jobs of a stage to their end; return False when the user stopped it.

        Raises:
            FailedAlike: the first cells failed with the same error.
            Exception: the first that a listener raised, for example because the disk is full.
        """
        from raysearch.engine.trials import tuner  # Ray Tune, which takes a second while Ray's first workers start

        interrupt = self._context.interrupt
        total = stage.count_cells()
        counter = counters.ProgressCounter(total, stage.done, self._slots, stage.name, stage.shown or stage.objective)
        planned = total - stage.done if stage.find is None else 0  # `prepare` itself looks at what pre-trainings become
        guard = FailureGuard(planned, self._any_finished, len(self._source.sets))
        view = terminal.TerminalView(counter, self._context.draw_table, self._context.console, lambda: guard.watching)
        self._heartbeat.follow(counter.snapshot)
        self._metrics = prometheus.StudyMetrics(self._context.run.record.study, stage.objective, self._gauges)
        self._metrics.set_plan(stage.done, total)
        locks = CellLocks(self._context.run.directory.resolve().parent / ".claims")
        find = stage.find or (lambda cell: self._store.find(cell, stage.accept))
        # The stage's own come first: after them it is known how many cells there will be.
        listeners = [*stage.listeners, _TotalUpdater(stage, counter, self._metrics), counter, view, self._metrics]
        listeners.append(self._context.tracking)
        if self._context.emit is not None:
            shown = stage.shown or stage.objective
            listeners.append(EventEmitter(self._context.emit, counter, shown.metric if shown else None))
        jobs = DedupJobs(stage.jobs, find, ListenerList(*listeners).ended, locks)
        with view, contextlib.closing(locks), self._gauges:
            while True:
                complete = tuner.run_trials(
                    jobs,
                    builders.builder_for_workers(
                        str(self._context.run.record.task), self._context.run.record.precision
                    ),
                    self._source,
                    tuner.Capacity(
                        self._slots, self._demand.workers, self._demand.cpus, self._demand.gpus, self._slots.on_head
                    ),
                    ListenerList(self._store, jobs, guard, *listeners),
                    tuner.CheckpointPolicy(self.storage, stage.objective, StepLimit(stage.limit)),
                    stage.scheduler,
                    interrupt,
                )
                if complete and jobs.remaining():
                    self._context.console.print(f"waiting for {jobs.remaining()} cells that another sweep runs")
                    jobs.wait(interrupt)
                if not complete or not jobs.remaining() or interrupt():
                    all_ended = complete and not jobs.remaining()
                    self._heartbeat.stage_ended(all_ended)
                    return all_ended


@contextlib.contextmanager
def open_session(context: RunContext, variants: Sequence[Variant]) -> Iterator[Session]:
    """Connect to Ray, place the images that the variants ask for, and leave a complete `study.json` behind.

    Of several data sets, one that cannot be opened is recorded with the reason; the others are used.

    Args:
        context: the run, its options, the console and the interrupt.
        variants: among them every size of images that cells will ask for, and every file of weights.

    Raises:
        UserError: weights, a split, a cluster, a limit of dollars or a placement of images that cannot be used.
    """
    run = context.run
    options = context.options
    started = time.monotonic()
    seconds_before = run.record.wall_seconds or 0.0
    adopted_before = dict(run.record.adopted_from)
    for backbone in {variant.config.backbone for variant in variants}:
        if backbone is not None:
            backbone_specs.check_weights(*backbone)
    asked = session_data.find_images(context, variants)
    show = functools.partial(context.console.print, markup=False, soft_wrap=True) if options.dashboard else None
    with contextlib.ExitStack() as stack:
        heartbeat = stack.enter_context(heartbeat_writer.HeartbeatWriter(run.directory))
        with context.console.status("joining Ray" if cluster_address(options.address) else "starting Ray"):
            stack.enter_context(connection.connected(options.address, show))
        meter = budget.CostMeter(run.directory / budget.COST_FILE)
        if options.max_cost is not None:
            budget.check_cost_limit(meter, options.max_cost)
        gpus = options.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if capacity.has_gpu() else 0.0
        if bool(gpus) != (run.device != "cpu"):  # such cells would be under the names of others
            raise UserError(f"the study's cells are named for a {run.device} device; give --gpus-per-worker")
        demand = TrialResources(options.workers, 1, gpus)
        with context.console.status("decoding images"):
            placed = session_data.place_images(context, asked, demand)
        every = [image_set for data_set in placed.values() for image_set in data_set.images.values()]
        demand = replace(demand, streams=any(isinstance(image_set, Streamed) for image_set in every))
        for warning in run.record.warnings:
            context.console.print(warning, style="yellow")
        run.record.hardware = capacity.hardware()
        run.write_record()
        source = ImageSource(placed, cache_dir() / "features")
        session = Session(context, demand, source, heartbeat)
        with budget.enforce_limits(meter, context.interrupt, options.max_cost, options.max_hours, session.set_cost):
            yield session
        run.record.cost = CostRecord(**meter.record())
    for other_run, adopted in run.record.adopted_from.items():
        added = adopted - adopted_before.get(other_run, 0)
        if added:
            context.console.print(
                f"{added} cells were taken over from {other_run}, which had finished them", markup=False
            )
    run.record.ended = datetime.now(UTC).isoformat(timespec="seconds")
    run.record.wall_seconds = seconds_before + time.monotonic() - started
    run.write_record()


def print_study(context: RunContext) -> None:
    """Print the question, the data that it is asked of, and how to follow the run."""
    record = context.run.record
    data = record.data
    context.console.print(record.question, style="bold")
    context.console.print(f"profile {record.profile}: {record.profile_reason}")
    described = {name: data_set.data for name, data_set in record.data_sets.items()} or {str(data.name): data}
    for name, of_set in described.items():
        if of_set.images:
            context.console.print(f"data: {name}, {of_set.images} images of {of_set.classes} classes, {of_set.path}")
    follow = shlex.join(["python", "-m", "raysearch.report", str(context.run.directory), "--live"])
    context.console.print(f"follow it in a browser: {follow}")


def fixed_jobs(cells: Iterable[Cell]) -> FixedJobs:
    """Return cells that are known beforehand as jobs."""
    return FixedJobs(make_job(cell) for cell in cells)


def checkpoint_reducers(context: RunContext, cells: Iterable[Cell]) -> list[Listener]:
    """Return what removes checkpoints of finished cells while a study runs; nothing if all of them stay.

    Args:
        context: of the run.
        cells: that are planned; those of a search are not known beforehand.
    """
    keep = context.options.keep
    if keep is None:
        return []
    planned: dict[str, list[str]] = {}
    for cell in cells:
        planned.setdefault(cell.variant.name, []).append(cell.hash)
    warn = functools.partial(context.console.print, style="yellow", markup=False)
    return [CheckpointReducer(context.run, context.checkpoints, keep, planned, warn)]


def held_out_objective(task: str) -> Objective | None:
    """Return what the best checkpoint of a task's cell is chosen by; None where the last one is kept."""
    metric = TASKS[task].held_out
    return Objective(metric, "max") if metric is not None else None


def make_job(cell: Cell, moves: Mapping[str, Any] | None = None) -> Job:
    """Return a cell as the engine needs it.

    Args:
        cell: to run.
        moves: dotted path -> first value, of settings that a population moves.
    """
    return Job(
        cell=cell.hash,
        name=f"{cell.variant.name} seed {cell.seed}",
        config=cell.variant.config.model_dump(mode="json"),
        seed=cell.seed,
        variant=cell.variant.name,
        start=cell.start.hash if cell.start else None,
        data_set=cell.variant.data_set,
        moves=dict(moves or {}),
    )
