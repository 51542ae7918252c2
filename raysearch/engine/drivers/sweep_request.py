"""The way from a user's request to a sweep that can run, which `raysearch sweep` and `raysearch.run` share.

`check` finds every mistake before an image is drawn. `open_sweep` then draws or finds the data and chooses the run.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from raysearch.core import Interrupt, Problems, UserError, cli
from raysearch.data import class_splits, evaluation_limits, feed_mode, shards, synthetic
from raysearch.engine import devices
from raysearch.engine.drivers import Driver, open_driver
from raysearch.engine.options import Options, Run, RunContext, check_gpus, cluster_address
from raysearch.engine.preflight import study_check
from raysearch.engine.trackers import check_trackers, tracked
from raysearch.messages import Message
from raysearch.runs import RunLocation, continuation, describe
from raysearch.runs.disk_forecast import format_bytes
from raysearch.runs.retention import Keep
from raysearch.storage import Location, cache_dir, join_uri
from raysearch.studies.configs import TASKS
from raysearch.studies.design import Adaptive, Plan, PlanRequest, Study

_NO_PRICE = (
    "--max-cost: the price of this machine is not known; use --max-hours, or start Ray with a price, "
    "`ray start --head --labels dollars-an-hour=0.98`, and give --address auto; both under RAY_AUTH_MODE=token"
)
_EMBEDDED = "No --data was given, so this is the embedded data set and a small network."

TableDrawer = Callable[[Run], Callable[[], RenderableType]]  # a run -> a function that draws its results so far


@dataclass(frozen=True)
class SweepRequest:
    """A study, its data, and where and how far it runs. The help of `raysearch sweep` explains each field."""

    study: str | Study  # a name in search_spaces, the path of a study file, or the study itself
    profile: str | None = None  # None: by the data and the GPUs
    data: str | None = None  # path or URI of shards; None: the embedded data set, or the task's
    out: str | None = None  # path or URI of the run; None: by study, profile and data
    seeds: int | str | Adaptive | None = None
    looks: str | None = None
    margin: float | None = None
    settings: Sequence[str] | Mapping[str, Any] = ()  # PATH=VALUE, or dotted path -> value
    only: Sequence[str] | Mapping[str, Sequence[Any]] = ()  # FACTOR=LEVEL,..., or factor -> levels
    episodes: int | None = None
    trials: int | None = None
    workers: int = 1
    gpus_per_worker: float | None = None
    concurrency: int | None = None
    address: str | None = None
    storage: str | None = None
    feed: feed_mode.FeedMode | None = None
    store_share: float = feed_mode.STORE_SHARE
    max_cost: float | None = None  # dollars
    max_hours: float | None = None
    retry_failed: bool = False
    adopt: bool = True
    learn: bool = True  # let a search learn from other runs
    learn_from: Sequence[str] = ()  # paths or URIs of these runs; empty: those beside the run
    keep: Keep | None = None  # checkpoints of finished cells that stay; None: all
    trackers: Sequence[str] = ()
    dashboard: bool = False  # of Ray on this machine
    effect: float | None = None  # whose seeds a dry run counts
    pilot: str | None = None  # run directory whose spread and cost a dry run takes

    def options(self, gpus: float | None, storage: str | None) -> Options:
        """Return how the study runs.

        Args:
            gpus: per worker.
            storage: path or URI of the checkpoints; None is the run directory.

        Raises:
            UserError: GPUs that the workers cannot use.
        """
        return Options(
            workers=self.workers,
            gpus_per_worker=gpus,
            concurrency=self.concurrency,
            address=self.address,
            storage=storage,
            feed=self.feed,
            store_share=self.store_share,
            max_cost=self.max_cost,
            max_hours=self.max_hours,
            retry_failed=self.retry_failed,
            adopt=self.adopt,
            learn=self.learn,
            learn_from=tuple(Path(run) for run in self.learn_from),
            keep=self.keep,
            trackers=tuple(self.trackers),
            dashboard=self.dashboard,
            effect=self.effect,
            pilot=Path(self.pilot) if self.pilot is not None else None,
        )


@dataclass(frozen=True)
class CheckedRequest:
    """A request without a mistake before any data is drawn.

    Attributes:
        request: with absolute locations.
        plan: of the study, on no data set yet.
        manifest: of the data that was given; None if none was given, or if only the settings are asked for.
        profile: the profile that was given or chosen.
        profile_reason: why.
    """

    request: SweepRequest
    plan: Plan
    manifest: shards.Manifest | None
    profile: str
    profile_reason: str

    @property
    def plan_request(self) -> PlanRequest:
        """Return what the plan was made of, for a description of its reference."""
        return PlanRequest(self.plan.study, self.profile, self.plan.settings)


@dataclass(frozen=True)
class OpenSweep:
    """A sweep that can run: its driver, its context and the location of its run."""

    driver: Driver
    context: RunContext
    location: RunLocation

    def run(self) -> bool:
        """Run the study with its trackers; return whether it is complete, or the user stopped it.

        When it is complete, checkpoints that `--keep` does not ask for go.
        """
        context = self.context
        with tracked(context.run, context.options.trackers, context.console) as tracking:
            complete = self.driver.run(replace(context, tracking=tracking))
        if complete and context.options.keep is not None:
            from raysearch.inspection import kept_checkpoints  # which imports torch

            pruning = kept_checkpoints.prune(context.run.directory, context.options.keep, context.options.storage)
            context.console.print(f"{format_bytes(pruning.kept_bytes)} of checkpoints stay")
        return complete


def check(request: SweepRequest, with_data: bool = True) -> CheckedRequest:
    """Check a request, and report all mistakes together, before any image is drawn.

    Args:
        request: what the user wants.
        with_data: whether the data is to be read; not for a look at the settings.

    Raises:
        UserError: what is wrong and what to do; of several mistakes a `UserErrors` with a line for each.
    """
    data = cli.absolute(request.data) if request.data is not None else None  # workers run in other directories
    out = os.path.expanduser(request.out) if request.out is not None else None
    gpus = request.gpus_per_worker
    on_cluster = bool(cluster_address(request.address))
    problems = Problems()
    if request.max_cost is not None and not on_cluster:
        problems.add(_NO_PRICE)
    if request.dashboard and on_cluster:
        problems.add("--dashboard starts that of Ray on this machine; a cluster has its own at port 8265 of its head")
    with problems.caught():
        check_gpus(request.workers, gpus)
    trackers: Sequence[str] = ()
    with problems.caught():
        trackers = check_trackers(request.trackers)
    if request.effect is not None and not (math.isfinite(request.effect) and request.effect > 0):
        problems.add(f"--effect {request.effect:g}: give a difference of the metric above 0, such as 0.004")
    manifest = None
    with problems.caught():
        manifest = shards.read_manifest(Location.parse(data)) if data is not None and with_data else None
    profile = request.profile
    profile_reason = ""
    with problems.caught():
        if profile is None and data is not None and on_cluster:
            gpus = devices.resolve_gpus(gpus, request.address)
        profile, profile_reason = _choose_profile(profile, data, gpus if on_cluster else None)
    study_request = study_check.StudyRequest(
        request.study,
        profile or "laptop",
        request.settings,
        request.only,
        request.episodes,
        request.seeds,
        request.trials,
        request.workers,
        request.looks,
        request.margin,
    )

    def _count(task: str) -> evaluation_limits.DataCounts | None:
        return _count_images(data, manifest) if with_data and _has_images(task, data) else None

    plan = None
    with problems.caught():
        plan = study_check.check_request(study_request, _count)
        if plan.kind != "ablation" and (request.effect is not None or request.pilot is not None):
            raise UserError("--effect and --pilot are for ablations; a search has no planned comparisons")
    learn_from: Sequence[str] = ()
    with problems.caught():
        learn_from = _find_runs(request, plan)
    problems.raise_all()
    assert plan is not None
    located = replace(request, data=data, out=out, gpus_per_worker=gpus, trackers=trackers, learn_from=learn_from)
    return CheckedRequest(located, plan, manifest, study_request.profile, profile_reason)


def open_sweep(
    checked: CheckedRequest,
    console: Console,
    command: str,
    draw_table: TableDrawer | None = None,
    emit: Callable[[Message], None] | None = None,
) -> OpenSweep:
    """Find or draw the data, and choose the run that the sweep begins or continues.

    Args:
        checked: what the user wants.
        console: for people.
        command: that continues the run.
        draw_table: of the results so far, in the terminal; None draws none.
        emit: takes the progress, for programs; None for people.

    Raises:
        UserError: the data cannot be read, or the run directory holds another run.
    """
    request = checked.request
    profile_reason = checked.profile_reason
    manifest = checked.manifest
    with_images = _has_images(checked.plan.task, request.data)
    location = locate_shards(request.data, checked.plan.task, console) if with_images else None
    if manifest is None:
        manifest = shards.read_manifest(location) if location is not None else shards.NO_DATA
    if location is None and profile_reason == _EMBEDDED:
        profile_reason = "No --data was given; the task loads its own."
    gpus = devices.resolve_gpus(request.gpus_per_worker, request.address)
    plan = checked.plan.for_data(class_splits.data_identity(manifest), devices.study_device(gpus, request.address))
    driver = open_driver(plan)
    surroundings = describe.describe_surroundings(
        manifest, location, plan.settings, profile_reason, command, plan.reference_config
    )
    record = driver.describe(surroundings)
    chosen = continuation.choose_run(request.out, record, embedded=request.data is None)
    if chosen.note:
        console.print(chosen.note, markup=False)
    storage = request.storage
    if request.out and chosen.location.place:  # checkpoints go where the results go
        storage = storage or join_uri(request.out, "checkpoints")
    run = Run(chosen.location.directory, location, manifest, record)
    interrupt = Interrupt(lambda message: console.print(message))
    drawer = draw_table(run) if draw_table is not None else str
    return OpenSweep(
        driver, RunContext(run, request.options(gpus, storage), console, interrupt, drawer, emit=emit), chosen.location
    )


def locate_shards(given: str | None, task: str, console: Console) -> Location:
    """Return where the shards are: those given, or the task's embedded data set, drawn unless it is in the cache."""
    if given is not None:
        return Location.parse(given)
    spec = synthetic.SyntheticSpec(**TASKS[task].embedded)
    with console.status(f"drawing the embedded data set, {spec.classes} kinds of birds"):
        return Location.parse(synthetic.ensure_shards(spec, cache_dir()))


def _find_runs(request: SweepRequest, plan: Plan | None) -> list[str]:
    """Return the local directories of the runs that a search is to learn from; those in a store are downloaded.

    Raises:
        UserError: one is no run directory, or the study learns nothing.
    """
    if not request.learn_from:
        return []
    if not request.learn:
        raise UserError("--learn-from and --no-learn contradict each other; give one of them")
    if plan is not None and plan.kind != "search":
        raise UserError("--learn-from is for searches; an ablation takes over finished cells by itself")
    directories = []
    for run in request.learn_from:
        location = RunLocation(run)
        location.fetch()
        if not (location.directory / "study.json").is_file():
            raise UserError(f"--learn-from '{run}' is not a run directory: it holds no study.json")
        directories.append(str(location.directory.resolve()))
    return directories


def _choose_profile(given: str | None, data: str | None, gpus_per_worker: float | None) -> tuple[str, str]:
    """Return the profile and the reason for it.

    Args:
        given: by the user.
        data: the location of the data; None for the embedded data set.
        gpus_per_worker: on a cluster, whose GPUs count there; None on this machine.

    Raises:
        UserError: the paper's profile without data.
    """
    if given == "paper" and data is None:
        raise UserError("the paper profile needs the paper's data: give --data DIR, made by python -m raysearch.ingest")
    if given:
        return given, "As asked by --profile."
    if data is None:
        return "laptop", _EMBEDDED
    if gpus_per_worker is not None:
        if gpus_per_worker:
            return "paper", "Data was given and workers have GPUs of the cluster."
        return "laptop", "Workers have no GPU of the cluster."
    import torch

    if torch.cuda.is_available():
        return "paper", "Data was given and this machine has a GPU."
    return "laptop", "This machine has no GPU."


def _has_images(task: str, data: str | None) -> bool:
    """Return whether a study of a task has images: those of --data, or the embedded ones where the task needs some."""
    return data is not None or TASKS[task].needs_images


def _count_images(data: str | None, manifest: shards.Manifest | None) -> evaluation_limits.DataCounts | None:
    """Return the images of each class: of the data given, or of the embedded data set; None if they are not known."""
    if manifest is not None:
        return evaluation_limits.DataCounts(manifest.name, manifest.classes, manifest.counts)
    return synthetic.count_images(synthetic.SyntheticSpec()) if data is None else None  # the same for every task
