"""The way from `raysearch sweep --explain RUN` to a sweep that can run.

Data, settings and configs come from the record of the search. A record from elsewhere may name any file, so code of a
user's own task is read only from a study file that the user names.
"""

from collections.abc import Mapping
from dataclasses import replace

from raysearch.core import Problems, UserError, cli
from raysearch.data import shards
from raysearch.engine.drivers.study_data import StudyData
from raysearch.engine.drivers.sweep_request import CheckedRequest, SweepRequest
from raysearch.engine.options import check_gpus
from raysearch.engine.trackers import check_trackers
from raysearch.runs import RunLocation, StudyRecord, explained_search, results
from raysearch.storage import Location
from raysearch.studies.design import Adaptive, ExplanationPlan, Search, load_study
from raysearch.studies.design.seed_requests import ADAPTIVE, Seeds, read_seed_request

SUFFIX = "-explained"  # of the run directory, beside that of the search


def check(request: SweepRequest, search: str) -> CheckedRequest:
    """Check a request to explain a search.

    Args:
        request: its study is empty, or the study file of a search with code of its own.
        search: path or URI of the search's run.

    Raises:
        UserError: an option that the search has decided, or a search that cannot be explained.
    """
    problems = Problems()
    _check_options(request, problems)
    with problems.caught():
        check_gpus(request.workers, request.gpus_per_worker)
    trackers = request.trackers
    with problems.caught():
        trackers = check_trackers(request.trackers)
    counted: Seeds | None = None
    with problems.caught():
        counted = _parse_seeds(request)
    problems.raise_all()
    location = RunLocation(search)
    location.fetch()
    record = results.read_study(location.directory)
    explained_search.check_kind(record, search)
    _load_code(request, record, search)
    groups = explained_search.explained_groups(record, location)
    seeds = explained_search.split_seeds(record, counted)
    if isinstance(counted, Adaptive):
        groups = explained_search.measure_groups(groups, record, results.load(location.directory))
    if isinstance(request.data, Mapping):
        raise UserError("an explanation runs on the data of its search; give one --data, without a name")
    data = cli.absolute(request.data) if request.data is not None else _recorded_data(record)
    manifests: dict[str | None, shards.Manifest] = {}
    if data is not None:
        manifests[None] = shards.read_manifest(Location.parse(data))
    if manifests and record.data.content_hash not in (None, manifests[None].content_hash):
        raise UserError(f"the search in '{search}' ran on other data than '{data}'; give its data with --data")
    plan = ExplanationPlan(
        study=record.study,
        profile=record.profile or "laptop",
        data="",
        seeds=seeds.judging,
        workers=request.workers,
        settings=dict(record.settings),
        search=str(location),
        question=f"Which changes earn the gain? {record.question or record.study}",
        groups=groups,
        choosing_seeds=seeds.choosing,
        metrics=tuple(record.metrics),
        modes=tuple(record.modes) or ("max",),
        metric=record.judge_metric or record.metric or "map",
        mode=record.judge_mode or "max",
        margin=counted.margin if isinstance(counted, Adaptive) else request.margin,
        adaptive=counted if isinstance(counted, Adaptive) else None,
        whole_seeds=seeds.whole,
    )
    out = request.out if request.out is not None else f"{search.rstrip('/')}{SUFFIX}"
    located = replace(request, data=data, out=out, trackers=trackers)
    reason = record.profile_reason or ""
    return CheckedRequest(located, plan, StudyData({None: data}, manifests), plan.profile, reason)


def _check_options(request: SweepRequest, problems: Problems) -> None:
    """Add a problem for each option that the search has decided already."""
    given = {
        "--profile": request.profile is not None,
        "--set": bool(request.settings),
        "--only": bool(request.only),
        "--episodes": request.episodes is not None,
        "--trials": request.trials is not None,
        "--effect": request.effect is not None,
        "--pilot": request.pilot is not None,
    }
    problems.add(
        *(f"{option} is decided by the search; leave it out of --explain" for option, is_set in given.items() if is_set)
    )
    if request.margin is not None and not request.margin > 0:
        problems.add(f"--margin {request.margin:g}: give a difference of the metric above 0, such as 0.004")


def _parse_seeds(request: SweepRequest) -> Seeds | None:
    """Return the number of judging seeds, or the looks at which they are judged; None if neither is given.

    A margin alone declares no looks: it belongs to either.

    Raises:
        UserError: see `read_seed_request`.
    """
    seeds = request.seeds
    is_adaptive = request.looks is not None or isinstance(seeds, Adaptive) or str(seeds).strip() == ADAPTIVE
    margin = request.margin if request.margin is None or request.margin > 0 else None  # else reported already
    return read_seed_request(seeds, request.looks, margin if is_adaptive else None)


def _load_code(request: SweepRequest, record: StudyRecord, search: str) -> None:
    """Load the study file that the user names, for the code of its task.

    Raises:
        UserError: the file holds another study, or none is named and the task is a user's.
    """
    if request.study:
        study = request.study if not isinstance(request.study, str) else load_study(request.study)[1]
        if not isinstance(study, Search) or study.task != record.task:
            raise UserError(f"'{request.study}' is not the search of '{search}', which trains '{record.task}'")
    elif record.code:
        raise UserError(
            f"'{search}' trains code of its own, which a record cannot choose to run; name its study file: "
            f"python -m raysearch.sweep {record.study}.py --explain {search}"
        )


def _recorded_data(record: StudyRecord) -> str | None:
    """Return where the data of the search is; None if its task loads its own."""
    return record.data.recorded_path() if record.data.path is not None else None
