"""The check of a study before anything runs: its file, its plan, its metrics, its search, and the data.

`raysearch.sweep`, its `--dry-run`, `raysearch.cluster check` and Python programs call `check_study`. It collects all
mistakes that it finds. A mistake that it can find does not surface later, after hours of training.
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from raysearch.core import Problems, UserError, nearest
from raysearch.data import class_splits, shards
from raysearch.data.evaluation_limits import DataCounts
from raysearch.data.layouts import LAYOUTS
from raysearch.models.backbone_specs import BACKBONES, check_weights
from raysearch.storage import Location
from raysearch.studies.configs import TASKS, RunConfig, data_settings, overrides, profile_settings
from raysearch.studies.configs.user import metric_names
from raysearch.studies.design import Ablation, AblationPlan, Plan, PlanRequest, Search, SearchPlan, Study, plan_study
from raysearch.studies.design.adaptive_seeds import Adaptive
from raysearch.studies.design.plan import in_variants
from raysearch.studies.design.seed_requests import Seeds, read_seed_request
from raysearch.studies.design.study_files import read_study
from raysearch.tasks import metric_definitions


@dataclass(frozen=True)
class StudyRequest:
    """A study and how it is to be run, in the words of a command or as values of Python."""

    study: str | Study  # a name in `search_spaces`, the path of a study file, or the study itself
    profile: str = "laptop"
    settings: Sequence[str] | Mapping[str, Any] = ()  # PATH=VALUE, or dotted path -> value
    only: Sequence[str] | Mapping[str, Sequence[Any]] = ()  # FACTOR=LEVEL,..., or factor -> levels
    episodes: int | None = None
    seeds: int | str | Adaptive | None = None  # a number, or "adaptive"
    trials: int | None = None
    workers: int = 1
    looks: str | None = None  # numbers of seeds, such as "3,5,8"
    margin: float | None = None  # a difference that does not matter


def check_study(
    study: str | Study,
    profile: str = "laptop",
    data: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    only: Mapping[str, Sequence[Any]] | None = None,
    seeds: Seeds | None = None,
    trials: int | None = None,
    workers: int = 1,
) -> Plan:
    """Check a study and return its plan. Nothing is started, and no image is read.

    Args:
        study: an `Ablation`, a `Search`, the name of a study, or the path of a study file.
        profile: the name of a profile of the task.
        data: path or URI of shards made by `raysearch.ingest`; None checks all that does not depend on the data.
        settings: overrides by dotted path, in the units of the config.
        only: factor name -> levels of an ablation to keep.
        seeds: number of seeds, or an `Adaptive`, instead of the study's.
        trials: number of configs per group of a search instead of the study's.
        workers: the number of workers that share each batch.

    Raises:
        UserError: what is wrong and what to do; of several mistakes a `UserErrors` with a line for each.
    """
    manifest = shards.read_manifest(Location.parse(data)) if data is not None else None
    request = StudyRequest(study, profile, settings or {}, only or {}, None, seeds, trials, workers)
    counts = DataCounts(manifest.name, manifest.classes, manifest.counts) if manifest else None
    plan = check_request(request, counts)
    return plan.for_data(class_splits.data_identity(manifest)) if manifest else plan


def check_request(request: StudyRequest, data: DataCounts | Callable[[str], DataCounts | None] | None = None) -> Plan:
    """Check a study as it is requested, and return its plan on no data set yet.

    Args:
        request: the study and how it is to be run.
        data: the images of each class, or a function that returns them for the name of the task; None checks all that
            does not depend on the data.

    Raises:
        UserError: as `check_study`.
    """
    problems = Problems()
    loaded = load_requested(request.study, problems)
    plan = None
    if loaded is not None:
        name, study = loaded
        with problems.caught():
            plan = check_loaded(name, study, request, data(study.task) if callable(data) else data)
    problems.raise_all()
    assert plan is not None
    return plan


def load_requested(study: str | Study, problems: Problems) -> tuple[str, Study] | None:
    """Return the name of a study, and the study, which a request names or holds; None if it cannot be checked.

    Args:
        study: a name in `search_spaces`, the path of a study file, or the study itself.
        problems: takes the mistakes; without a study there is at least one.
    """
    loaded = ("study", study) if isinstance(study, Ablation | Search) else read_study(str(study), problems)
    if loaded is not None and loaded[1].task in TASKS:
        return loaded
    if not problems.messages:
        problems.add(f"'{study}' is not a study")
    return None


def check_on_sets(
    name: str, study: Study, request: StudyRequest, data_sets: Mapping[str, DataCounts | None]
) -> dict[str, AblationPlan]:
    """Check a study on each of several data sets, and return data set -> its plan, for no data yet.

    Args:
        name: the study's.
        study: the study.
        request: how it is to be run.
        data_sets: name -> the images of each class; None checks all that does not depend on the data.

    Raises:
        UserError: a search, or what keeps the study from running on a set. A mistake on every set is reported once.
    """
    if isinstance(study, Search):
        raise UserError("a search chooses its config on one data set; give one --data, without a name")
    plans: dict[str, AblationPlan] = {}
    mistakes: dict[str, list[str]] = {}  # message -> data sets
    for data_set, counts in data_sets.items():
        try:
            plan = check_loaded(name, study, request, counts)
            assert isinstance(plan, AblationPlan)
            plans[data_set] = plan
        except UserError as error:
            for message in error.messages:
                mistakes.setdefault(message, []).append(data_set)
    problems = Problems()
    for message, places in mistakes.items():
        problems.add(message if len(places) == len(data_sets) else f"data set {', '.join(places)}: {message}")
    problems.raise_all()
    return plans


def check_loaded(name: str, study: Study, request: StudyRequest, counts: DataCounts | None) -> Plan:
    """Check a study that is loaded, and return its plan on no data set yet.

    Args:
        name: the study's.
        study: the study.
        request: how it is to be run.
        counts: the images of each class; None checks all that does not depend on the data.

    Raises:
        UserError: as `check_study`.
    """
    problems = Problems()
    plan = None
    with problems.caught():
        plan_request = _plan_request(name, study, request, problems)
        if counts is not None:
            of_data = _settings_of_data(study, request.profile, len(counts.classes))
            plan_request = replace(plan_request, settings={**of_data, **plan_request.settings})
        if not problems.messages:
            plan = plan_study(study, plan_request)
    _check_metrics(study, plan, request.profile, problems)
    if isinstance(study, Search):
        from raysearch.engine.preflight import search_check  # which needs Ray and Optuna

        search_check.check_search(study, plan if isinstance(plan, SearchPlan) else None, counts, problems)
    if plan is not None:
        _check_variants(plan, counts, request.workers, problems)
    problems.raise_all()
    assert plan is not None
    return plan


def _plan_request(name: str, study: Study, request: StudyRequest, problems: Problems) -> PlanRequest:
    """Return the request of a plan. Words that cannot be read are problems and left out."""
    settings: dict[str, Any] = {}
    with problems.caught():
        if isinstance(request.settings, Mapping):
            overrides.check_paths(request.settings, study.task, "settings")
            settings |= overrides.absolute_paths(request.settings, study.task)
        else:
            settings |= overrides.parse(list(request.settings), study.task)
    with problems.caught():
        settings |= overrides.test_episodes(request.episodes, study.task)
    only: Mapping[str, Sequence[Any]] = {}
    with problems.caught():
        names = [factor.name for factor in study.factors] if isinstance(study, Ablation) else []
        only = request.only if isinstance(request.only, Mapping) else overrides.parse_only(list(request.only), names)
    with problems.caught():
        profile_settings(study.task, request.profile)
    seeds: Seeds | None = None
    with problems.caught():
        seeds = read_seed_request(request.seeds, request.looks, request.margin, study.seeds)
    return PlanRequest(name, request.profile, settings, seeds, request.trials, request.workers, only)


def _settings_of_data(study: Study, profile: str, classes: int) -> dict[str, Any]:
    """Return what a profile adds on a data set with so many classes, without what the study sets or varies."""
    if isinstance(study, Ablation):
        varied = {path for factor in study.factors for path in factor.paths}
    else:
        varied = set() if callable(study.space) else {*study.space, *(study.group.paths if study.group else ())}
    set_by_study = {*study.base, *study.reference, *study.profiles.get(profile, {}), *varied}
    added = data_settings(study.task, profile, classes)
    return {path: value for path, value in added.items() if path not in set_by_study}


def _check_metrics(study: Study, plan: Plan | None, profile: str, problems: Problems) -> None:
    """Check that runs have the metric that a study compares by, and that published numbers exist."""
    spec = TASKS[study.task]
    config = plan.reference_config if plan is not None else _profile_config(study, profile)
    if config is None:
        return
    try:
        computed = [*metric_definitions.metric_ids(config, "")]
    except Exception as error:  # code of an extension
        problems.add(f"task '{study.task}': its metric_ids raises {type(error).__name__}: {error}")
        return
    known = list(dict.fromkeys([*computed, *spec.objectives, *metric_names.TIMES]))
    metric_settings = {"metric": study.metric} if isinstance(study, Ablation) else {}
    if isinstance(study, Search) and study.judge_seeds and not _trains_population(study):
        metric_settings = {"judge_metric": study.judge_metric}
    for field, metric in metric_settings.items():
        if metric not in known:
            listed = f"; known: {', '.join(known)}"
            hint = nearest(str(metric), known)
            problems.add(
                f"{field}='{metric}': runs of {study.task} have no such metric"
                f"{hint if 'did you mean' in hint else listed}"
            )
        elif metric == spec.held_out and isinstance(plan, AblationPlan):
            names = [variant.name for variant in plan.variants if not variant.config.holds_out]
            if names:
                cause = f"{field}='{metric}' needs a held-out part of train; use --set data.validation=0.1"
                problems.add(in_variants(names, cause))
    if isinstance(study, Ablation):
        for name in sorted({factor.name for factor in study.factors} & set(computed)):
            problems.add(f"a factor cannot be called '{name}': the results have a metric of that name; rename it")
        published = _published_names()
        if study.published is not None and not _is_published(study.published, published):
            problems.add(f"published='{study.published}': no such table{nearest(study.published, _tables(published))}")


def _trains_population(study: Search) -> bool:
    try:
        return study.trains_population
    except UserError:  # an unknown scheduler, which is reported elsewhere
        return False


def _profile_config(study: Study, profile: str) -> RunConfig | None:
    """Return a config of the task, for a study that cannot be planned; None if there is none."""
    for name in (profile, *TASKS[study.task].profiles):
        try:
            settings = profile_settings(study.task, name)
            return overrides.resolve(study.task, overrides.start_from(study.task, settings, {}))
        except UserError:
            continue
    return None


def _is_published(name: str, known: list[str]) -> bool:
    """Return whether there are numbers of a name. One without a data set means the files of all data sets."""
    patterns = (name.replace("{data}", "*"), f"{name}_*")
    return any(fnmatch.filter(known, pattern) for pattern in patterns)


def _tables(files: list[str]) -> list[str]:
    """Return the names of published tables without those of their data sets."""
    suffixes = [f"_{layout}" for layout in sorted(LAYOUTS, key=len, reverse=True)]
    endings = {file: next((suffix for suffix in suffixes if file.endswith(suffix)), "") for file in files}
    return sorted({file.removesuffix(ending) for file, ending in endings.items()})


def _published_names() -> list[str]:
    folder = Path(str(resources.files("search_spaces"))) / "published"
    return [str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.csv")]


def _check_variants(plan: Plan, data: DataCounts | None, workers: int, problems: Problems) -> None:
    """Check the weights of all configs, whether workers can share their batches, and whether the data suffices."""
    failures: dict[str, list[str]] = {}  # mistake -> variants
    configs = _named_configs(plan)
    for name, config in configs:
        for message in config_mistakes(config, data, workers):
            failures.setdefault(message, []).append(name)
    for message, names in failures.items():
        problems.add(message if len(names) == len(configs) else in_variants(names, message))


def config_mistakes(config: RunConfig, data: DataCounts | None, workers: int = 1) -> list[str]:
    """Return what keeps a config from running, a line for each reason.

    Args:
        config: resolved.
        data: the images of each class; None leaves out what depends on the data.
        workers: the number of workers that share each batch.
    """
    problems = Problems()
    with problems.caught():
        if config.backbone is not None:
            check_weights(*config.backbone)
            _check_side(config.backbone[0], config.images.side)
    with problems.caught():
        config.check_workers(workers)
    if data is not None:
        problems.add(*config.limits(data.name, data.classes, data.counts).errors)
    return problems.messages


def _check_side(backbone: str, side: int) -> None:
    multiple = BACKBONES[backbone].side_multiple
    if side % multiple:
        raise UserError(
            f"data.side={side} is no multiple of {multiple}, as model.backbone={backbone} needs; use "
            f"{max(multiple, round(side / multiple) * multiple)}"
        )


def _named_configs(plan: Plan) -> list[tuple[str, RunConfig]]:
    if isinstance(plan, AblationPlan):
        return [(variant.name, variant.config) for variant in plan.variants]
    assert isinstance(plan, SearchPlan)
    references = [plan.reference(group) for group in plan.groups]
    return [(reference.name, reference.config) for reference in references]
