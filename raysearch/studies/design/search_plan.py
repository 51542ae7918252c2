"""A search becomes cells one by one: what was suggested is a variant, and each of its seeds a cell."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.core.errors import UserError
from raysearch.studies.configs import RunConfig, overrides
from raysearch.studies.design.plan import REFERENCE, Cell, Variant, make_cell
from raysearch.studies.design.search import Search

BEST = "best"


@dataclass(frozen=True)
class Group:
    """One level of the search's group, or the whole search where it has none."""

    label: str  # "hash.bits=24"; empty for the whole search
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class SearchPlan:
    """What the cells of a search are made from."""

    study: str
    profile: str
    search: Search
    data: str  # the data set's content hash
    seeds: tuple[int, ...]  # that tune
    settings: Mapping[str, Any]  # the user's overrides
    trials: int  # in each group
    workers: int = 1  # that share each batch

    @property
    def groups(self) -> list[Group]:
        if self.search.group is None:
            return [Group("", {})]
        return [Group(_label(level), level) for level in self.search.group.levels]

    def variant(self, group: Group, name: str, settings: Mapping[str, Any]) -> Variant:
        """A config of the search.

        Args:
            group: where it belongs.
            name: what people see.
            settings: of the searched paths, in the study file's units.

        Raises:
            UserError: a combination that cannot be.
        """
        study = self.search
        overrides.check_paths(settings, study.task, "the space")
        base = overrides.start_from(study.task, study.profile(self.profile), self.settings)
        side = overrides.side(study.task, {**base, **group.settings})

        def resolved(settings: Mapping[str, Any]) -> RunConfig:
            own = overrides.scale_pixels(study.task, {**study.reference, **group.settings, **settings}, side)
            return overrides.resolve(study.task, {**base, **own}, f"config '{name}'")

        config = resolved(settings)
        if config.images.side != side:
            raise UserError("data.side cannot be searched, since images are decoded beforehand; make it the group")
        # The pre-trainings that are run beforehand are those of the reference.
        if (before := config.starts_from(0)) and before != resolved({}).starts_from(0):
            raise UserError("what the pre-training depends on cannot be searched: make it the group")
        scaled = {path: overrides.get_path(config, path) for path in {**group.settings, **settings}}
        return Variant(name=name, settings=scaled, declared={**group.settings, **settings}, config=config)

    def reference(self, group: Group) -> Variant:
        """What the best config is judged against."""
        return self.variant(group, self._judged(REFERENCE, group), {})

    def best(self, group: Group, declared: Mapping[str, Any]) -> Variant:
        """The best config under the name that it is judged by."""
        return self.variant(group, self._judged(BEST, group), declared)

    def cell(self, variant: Variant, seed: int) -> Cell:
        return make_cell(variant, seed, self.data, self.workers)

    def member(self, variant: Variant, group: Group, seed: int) -> Cell:
        """A member of a population. What becomes of it depends on the others, so its name covers the whole search."""
        assert not callable(self.search.space)
        others = [self.study, str(self.trials), group.label, variant.name, *sorted(self.search.space)]
        others += [repr(dict(self.search.scheduler_options))]
        return make_cell(variant, seed, self.data, self.workers, others)

    def referring(self) -> list[Cell]:
        """The reference of each group with every seed, for the pre-trainings they start from."""
        seeds = [*self.seeds, *self.search.judging_seeds(list(self.seeds))]
        return [self.cell(self.reference(group), seed) for group in self.groups for seed in seeds]

    def judging(self, variants: list[Variant]) -> list[Cell]:
        """The cells in which variants meet on fresh seeds, seed by seed."""
        seeds = self.search.judging_seeds(list(self.seeds))
        return [self.cell(variant, seed) for seed in seeds for variant in variants]

    def _judged(self, name: str, group: Group) -> str:
        return f"{name} ({group.label})" if group.label else name


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
        search: what is asked.
        profile: "laptop" or "paper".
        data_hash: content hash of the data set.
        settings: overrides by dotted path, in the units of the config.
        seeds: number of tuning seeds instead of the study's.
        trials: number of configs a group instead of the study's.
        workers: that share each batch.

    Raises:
        UserError: a path, value or combination that cannot be.
    """
    settings = dict(settings or {})
    if not callable(search.space):
        for path in set(settings) & set(search.space):
            raise UserError(f"--set {path} fixes what the search looks for; leave it out of the study's space")
    if trials is not None and trials < 1:
        raise UserError(f"a search needs at least one trial, not {trials}")
    plan = SearchPlan(
        study=name,
        profile=profile,
        search=search,
        data=data_hash,
        seeds=tuple(search.tuning_seeds(seeds)),
        settings=settings,
        trials=search.trials if trials is None else trials,
        workers=workers,
    )
    for group in plan.groups:
        config = plan.reference(group).config
        _check_held_out(config)
        for start in search.starts:
            plan.variant(group, "start", start)
    return plan


def _check_held_out(config: RunConfig) -> None:
    if not config.holds_out:
        raise UserError("a search chooses by a held-out part of train: set data.validation, as 0.1")


def _label(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in settings.items())


def describe_settings(settings: Mapping[str, Any]) -> str:
    """Settings as a variant's name says them.

    >>> describe({"srem.regions": 33, "esrl.positive": 0.0123456})
    'srem.regions=33, esrl.positive=0.01235'
    """
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in settings.items())
