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

from raysearch.core import Interrupt, Problems, UserError
from raysearch.data import class_splits, feed_mode
from raysearch.engine import devices
from raysearch.engine.drivers import Driver, open_driver, study_data
from raysearch.engine.drivers.study_data import GivenData, StudyData
from raysearch.engine.options import DataSet, Options, Run, RunContext, check_gpus, cluster_address
from raysearch.engine.preflight import study_check
from raysearch.engine.trackers import check_trackers, tracked
from raysearch.messages import Message
from raysearch.runs import RunLocation, Surroundings, continuation, describe
from raysearch.runs.disk_forecast import format_bytes
from raysearch.runs.retention import Keep
from raysearch.storage import join_uri
from raysearch.studies.design import Adaptive, Device, JoinedPlan, Plan, PlanRequest, Study, join_plans

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
    data: GivenData = None  # path or URI of shards, or several by name; None: the study's, embedded, or the task's
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
        data: where the data is, and its manifests, unless only the settings are asked for.
        profile: the profile that was given or chosen.
        profile_reason: why.
    """

    request: SweepRequest
    plan: Plan
    data: StudyData
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
    loaded = study_check.load_requested(request.study, problems)
    data = study_data.find_data(request.data, loaded[1] if loaded else None, with_data, problems)
    profile = request.profile
    profile_reason = ""
    with problems.caught():
        if profile is None and data.is_given and on_cluster:
            gpus = devices.resolve_gpus(gpus, request.address)
        profile, profile_reason = _choose_profile(profile, data.is_given, gpus if on_cluster else None)
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

    plan = None
    if loaded is not None:
        with problems.caught():
            plan = _plan(*loaded, study_request, data, with_data)
            if plan.kind != "ablation" and (request.effect is not None or request.pilot is not None):
                raise UserError("--effect and --pilot are for ablations; a search has no planned comparisons")
    learn_from: Sequence[str] = ()
    with problems.caught():
        learn_from = _find_runs(request, plan)
    problems.raise_all()
    assert plan is not None
    located = replace(request, data=data.given, out=out, gpus_per_worker=gpus, trackers=trackers, learn_from=learn_from)
    return CheckedRequest(located, plan, data, study_request.profile, profile_reason)


def _plan(name: str, study: Study, request: study_check.StudyRequest, data: StudyData, with_data: bool) -> Plan:
    """Check a study on its data, and return its plan on no data yet.

    Raises:
        UserError: see `study_check.check_loaded` and `study_check.check_on_sets`.
    """
    counts = {key: data.counts(key, study.task) if with_data else None for key in data.places}
    if not data.names:
        return study_check.check_loaded(name, study, request, counts[None])
    named = {data_set: counts[data_set] for data_set in data.names}
    return join_plans(study_check.check_on_sets(name, study, request, named))


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
    located = checked.data.locate(checked.plan.task, console)
    if all(data_set.shards is None for data_set in located.values()) and profile_reason == _EMBEDDED:
        profile_reason = "No --data was given; the task loads its own."
    gpus = devices.resolve_gpus(request.gpus_per_worker, request.address)
    device = devices.study_device(gpus, request.address)
    plan = _on_data(checked.plan, located, device)
    driver = open_driver(plan)
    record = driver.describe(_surroundings(plan, located, profile_reason, command))
    chosen = continuation.choose_run(request.out, record, embedded=request.data is None)
    if chosen.note:
        console.print(chosen.note, markup=False)
    storage = request.storage
    if request.out and chosen.location.place:  # checkpoints go where the results go
        storage = storage or join_uri(request.out, "checkpoints")
    run = Run.on_data(chosen.location.directory, record, located)
    interrupt = Interrupt(lambda message: console.print(message))
    drawer = draw_table(run) if draw_table is not None else str
    return OpenSweep(
        driver, RunContext(run, request.options(gpus, storage), console, interrupt, drawer, emit=emit), chosen.location
    )


def _on_data(plan: Plan, data: Mapping[str | None, DataSet], device: Device) -> Plan:
    """Return a plan on its data sets."""
    hashes = {name: class_splits.data_identity(data_set.manifest) for name, data_set in data.items()}
    if isinstance(plan, JoinedPlan):
        return plan.for_data_sets({str(name): content_hash for name, content_hash in hashes.items()}, device)
    return plan.for_data(hashes[None], device)


def _surroundings(plan: Plan, data: Mapping[str | None, DataSet], reason: str, command: str) -> Surroundings:
    """Return data, settings and code for the record of a plan."""
    described = {
        name: describe.describe_surroundings(
            data_set.manifest,
            data_set.shards,
            plan.settings,
            reason,
            command,
            plan.parts[str(name)].reference_config if isinstance(plan, JoinedPlan) else plan.reference_config,
        )
        for name, data_set in data.items()
    }
    if not isinstance(plan, JoinedPlan):
        return described[None]
    return describe.join_surroundings({name: described[name] for name in plan.parts}, plan.data)


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


def _choose_profile(given: str | None, is_given: bool, gpus_per_worker: float | None) -> tuple[str, str]:
    """Return the profile and the reason for it.

    Args:
        given: by the user.
        is_given: whether all data was given, and the embedded data set is not among it.
        gpus_per_worker: on a cluster, whose GPUs count there; None on this machine.

    Raises:
        UserError: the paper's profile without data.
    """
    if given == "paper" and not is_given:
        raise UserError("the paper profile needs the paper's data: give --data DIR, made by python -m raysearch.ingest")
    if given:
        return given, "As asked by --profile."
    if not is_given:
        return "laptop", _EMBEDDED
    if gpus_per_worker is not None:
        if gpus_per_worker:
            return "paper", "Data was given and workers have GPUs of the cluster."
        return "laptop", "Workers have no GPU of the cluster."
    import torch

    if torch.cuda.is_available():
        return "paper", "Data was given and this machine has a GPU."
    return "laptop", "This machine has no GPU."
