"""A search becomes cells one by one: a suggestion is a variant, and each of its seeds is a cell."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from raysearch.core import Problems, UserError
from raysearch.studies.configs import RunConfig, overrides, settle_profile
from raysearch.studies.configs.plain_values import plain_settings
from raysearch.studies.design.adaptive_seeds import Adaptive
from raysearch.studies.design.plan import REFERENCE, Cell, Device, PlanRequest, StudyPlan, Variant, make_cell
from raysearch.studies.design.search import Search

BEST = "best"


@dataclass(frozen=True)
class Group:
    """A part of a search that is searched separately: one level of the search's group, or the whole search."""

    label: str  # "hash.bits=24"; empty for the whole search
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SearchPlan(StudyPlan):
    """What the cells of a search are made from."""

    kind: ClassVar[Literal["search"]] = "search"

    search: Search
    trials: int  # per group

    @property
    def definition(self) -> Search:
        """The study that is planned."""
        return self.search

    @property
    def task(self) -> str:
        """Name of the task whose configs are searched."""
        return self.search.task

    @property
    def groups(self) -> list[Group]:
        """The parts that are searched separately."""
        if self.search.group is None:
            return [Group("", {})]
        return [Group(_label(level), level) for level in self.search.group.levels]

    @property
    def reference_config(self) -> RunConfig:
        """The reference of the first group; other groups differ from it in the group's settings."""
        return self.reference(self.groups[0]).config

    @property
    def most_cells(self) -> int:
        """Number of cells, if nothing is stopped and no suggestion is repeated."""
        judging = 0 if self.search.trains_population else 2 * self.search.judge_seeds
        return len(self.groups) * (self.trials * len(self.seeds) + judging)

    def for_data(self, content_hash: str, device: Device | None = None) -> "SearchPlan":
        """Return the plan on another data set, on the same kind of device unless another is given."""
        return replace(self, data=content_hash, device=device or self.device)

    def summary(self) -> str:
        """Return the number of configs."""
        return f"{self.trials} configs in each of {len(self.groups)} groups"

    def variant(self, group: Group, name: str, settings: Mapping[str, Any], recorded: bool = False) -> Variant:
        """Return a config of the search.

        Args:
            group: the group of the config.
            name: the name that people see.
            settings: dotted path -> value of the searched paths, in the study file's units.
            recorded: the settings come from a file of the run, which anyone may have written. Code that they name is
                not read; it has to be known from the study.

        Raises:
            UserError: an unknown path, or a combination that cannot be.
        """
        study = self.search
        settings = plain_settings(settings, "the space")
        if not recorded:
            settings = overrides.register_codes(settings, study.task)
        settings = overrides.absolute_files(settings, study.task)
        overrides.check_paths(settings, study.task, "the space")
        reference = {path: value for path, value in study.reference.items() if path not in self.settings}
        base = overrides.start_from(study.task, study.profile(self.profile), self.settings)
        side = overrides.side(study.task, {**base, **group.settings})

        def _resolve(settings: Mapping[str, Any]) -> RunConfig:
            declared = {**reference, **group.settings, **settings}
            scaled = overrides.scale_pixels(study.task, declared, side)
            stronger = {*study.base, *study.profiles.get(self.profile, {}), *self.settings, *declared}
            whole = settle_profile(study.task, self.profile, {**base, **scaled}, stronger)
            return overrides.resolve(study.task, whole, f"config '{name}'")

        config = _resolve(settings)
        if config.images.side != side:
            raise UserError("data.side cannot be searched, since images are decoded beforehand; make it the group")
        # Pre-trainings are run beforehand, for the reference only.
        pre_training = config.starts_from(0)
        if pre_training and pre_training != _resolve({}).starts_from(0):
            raise UserError("settings of the pre-training cannot be searched: it runs beforehand; make them the group")
        declared = {**group.settings, **settings}
        values = {path: overrides.get_path(config, path) for path in declared}
        return Variant(name=name, settings=values, declared=declared, config=config)

    def reference(self, group: Group) -> Variant:
        """Return what the best config of a group is judged against."""
        return self.variant(group, _name_in_group(REFERENCE, group), {})

    def best(self, group: Group, declared: Mapping[str, Any]) -> Variant:
        """Return the best config of a group under the name that it is judged by."""
        return self.variant(group, _name_in_group(BEST, group), declared)

    def cell(self, variant: Variant, seed: int) -> Cell:
        """Return a variant with a seed."""
        return make_cell(variant, seed, self.data, self.workers, device=self.device)

    def member(self, variant: Variant, group: Group, seed: int) -> Cell:
        """Return a member of a population. Its outcome depends on the others, so its hash covers the whole search."""
        assert not callable(self.search.space)
        others = [self.study, str(self.trials), group.label, variant.name, *sorted(self.search.space)]
        others += [repr(dict(self.search.scheduler_options))]
        return make_cell(variant, seed, self.data, self.workers, others, self.device)

    def reference_cells(self) -> list[Cell]:
        """Return the reference of each group with every seed, tuning and judging."""
        seeds = [*self.seeds, *self.search.judging_seeds(list(self.seeds))]
        return [self.cell(self.reference(group), seed) for group in self.groups for seed in seeds]

    def judging_cells(self, variants: list[Variant]) -> list[Cell]:
        """Return the cells in which variants meet on fresh seeds, seed by seed."""
        seeds = self.search.judging_seeds(list(self.seeds))
        return [self.cell(variant, seed) for seed in seeds for variant in variants]


def plan_requested(search: Search, request: PlanRequest) -> SearchPlan:
    """Plan a search as a command asks for it, for no data set yet; see `SearchPlan.for_data`.

    Raises:
        UserError: see `plan_search`; or levels of a factor were given, which is for ablations.
    """
    if request.only:
        raise UserError("--only is for ablations; a search has a space")
    if isinstance(request.seeds, Adaptive):
        raise UserError("adaptive seeds are for ablations; a search tunes on a number of seeds")
    return plan_search(
        request.name,
        search,
        request.profile,
        "",
        request.settings,
        request.seeds,
        request.trials,
        request.workers,
    )


def plan_search(
    name: str,
    search: Search,
    profile: str,
    data_hash: str,
    settings: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    trials: int | None = None,
    workers: int = 1,
) -> SearchPlan:
    """Plan a search.

    Args:
        name: the study's name.
        search: the question and the space.
        profile: the name of a profile of the task, for example "laptop".
        data_hash: content hash of the data set.
        settings: overrides by dotted path, in the units of the config.
        seeds: number of tuning seeds instead of the study's.
        trials: number of configs per group instead of the study's.
        workers: the number of workers that share each batch.

    Raises:
        UserError: unknown profile or path, a value or combination that cannot be, or no held-out part to choose by.
    """
    settings = dict(settings or {})
    problems = Problems()
    searched = set() if callable(search.space) else set(search.space)
    grouped = set(search.group.paths) if search.group else set()
    for path in settings:
        if path in searched:
            problems.add(f"--set {path} fixes what the search looks for; leave it out of the study's space")
        if path in grouped:
            problems.add(f"--set {path} fixes what each group of the search sets; leave it out of the study's group")
    if trials is not None and trials < 1:
        problems.add(f"a search needs at least one trial, not {trials}")
    tuning_seeds: tuple[int, ...] = ()
    with problems.caught():
        tuning_seeds = tuple(search.tuning_seeds(seeds))
    plan = SearchPlan(
        study=name,
        profile=profile,
        search=search,
        data=data_hash,
        seeds=tuning_seeds,
        settings=settings,
        trials=search.trials if trials is None else trials,
        workers=workers,
    )
    for group in plan.groups:
        with problems.caught():
            if not plan.reference(group).config.holds_out:
                raise UserError("a search chooses by a held-out part of train: set data.validation, for example to 0.1")
        for number, start in enumerate(search.starts, start=1):
            with problems.caught():
                plan.variant(group, f"start {number}", start)
    problems.raise_all()
    return plan


def describe_settings(settings: Mapping[str, Any]) -> str:
    """Return settings as they appear in a variant's name.

    >>> describe_settings({"srem.regions": 33, "esrl.positive": 0.0123456})
    'srem.regions=33, esrl.positive=0.01235'
    """
    values = {path: f"{value:.4g}" if isinstance(value, float) else str(value) for path, value in settings.items()}
    return ", ".join(f"{path}={value}" for path, value in values.items())


def _label(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in settings.items())


def _name_in_group(name: str, group: Group) -> str:
    return f"{name} ({group.label})" if group.label else name
