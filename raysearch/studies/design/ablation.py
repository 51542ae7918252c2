"""An `Ablation`: a question about named factors, answered against a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from raysearch.core import UserError, nearest
from raysearch.studies.configs import check_limit, check_profiles, overrides, profile_settings, seed_list
from raysearch.studies.design.factors import Factor

Design = Literal["one_at_a_time", "full", "leave_one_out"]
DESIGNS: tuple[Design, ...] = ("one_at_a_time", "full", "leave_one_out")


@dataclass(frozen=True)
class Ablation:
    """A question about named factors, answered against a reference with the same seeds for every variant.

    Sizes in pixels are given for an image of 224 px and scale with `data.side`.

    Args:
        question: the question that the report answers.
        task: the name of a task, for example "retrieval".
        base: settings of every variant.
        reference: the setting of the factors that the other variants are compared with.
        factors: the factors that vary.
        design: "one_at_a_time" changes one factor from the reference; "full" crosses all levels; "leave_one_out"
            switches one component off at a time.
        within: names of factors whose levels each have a reference of their own, in a "full" design. With "hash.bits",
            the others are compared at 12 bits with the reference at 12 bits.
        seeds: how many, counted from 0, or the list itself.
        metric: column of the results that variants are compared by.
        mode: "max" if a higher metric is better, "min" if a lower one is.
        profiles: profile name -> settings, on top of the task's own.
        published: `paper/name` of published numbers to show beside, a file of `search_spaces/published`.
        step_limit: seconds after which the worker of an unfinished step (an outer iteration) is replaced as hung.
    """

    question: str
    task: str
    reference: Mapping[str, Any]
    factors: list[Factor]
    base: Mapping[str, Any] = field(default_factory=dict)
    design: Design = "one_at_a_time"
    within: tuple[str, ...] = ()
    seeds: int | list[int] = 5
    metric: str = "map"
    mode: Literal["max", "min"] = "max"
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: str | None = None
    step_limit: float | None = None

    def __post_init__(self) -> None:
        if self.design not in DESIGNS:
            raise UserError(f"unknown design '{self.design}'{nearest(self.design, DESIGNS)}")
        if self.mode not in ("max", "min"):
            raise UserError(f"mode must be max or min, not '{self.mode}'")
        overrides.known_paths(self.task)
        check_profiles(self.task, self.profiles)
        check_limit(self.step_limit)
        overrides.check_paths(self.base, self.task, "base")
        overrides.check_paths(self.reference, self.task, "reference")
        for factor in self.factors:
            self._check_factor(factor)
        for name, settings in self.profiles.items():
            for path in set(settings) & set(self.reference):
                raise UserError(f"profile '{name}' sets '{path}', which the reference sets for every profile")
        if not self.factors:
            raise UserError("a study needs at least one factor")
        self._check_names()
        self.seed_list()

    def _check_factor(self, factor: Factor) -> None:
        overrides.check_paths(factor.paths, self.task, f"factor '{factor.name}'")
        if not factor.levels:
            raise UserError(f"factor '{factor.name}' has no levels")
        if self.design == "leave_one_out" and len(factor.levels) != 1:
            raise UserError(f"leave_one_out needs one 'off' setting for '{factor.name}', got {len(factor.levels)}")
        if factor.labels and factor.label(self.reference) is None:
            raise UserError(f"the reference is none of the levels of '{factor.name}': {', '.join(factor.labels)}")

    def _check_names(self) -> None:
        names = [factor.name for factor in self.factors]
        for name in self.within:
            if name not in names:
                raise UserError(f"'{name}' in within is not a factor{nearest(name, names)}")
            if self.design != "full":
                raise UserError(f"within needs design='full'; this is {self.design}")
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"factor '{name}' is there twice; give it all its levels at once")

    def only(self, levels: Mapping[str, Sequence[Any]]) -> "Ablation":
        """Return the study with some levels of some factors; the reference stays.

        Args:
            levels: factor name -> levels to keep: values of a path, or labels of a choice. Of a factor in `within` the
                reference moves to the first of them, unless it has one of them.

        Raises:
            UserError: no such factor or level.
        """
        factors = {factor.name: factor for factor in self.factors}
        reference = dict(self.reference)
        for name, kept_levels in levels.items():
            if name not in factors:
                raise UserError(f"--only {name}: no such factor{nearest(name, factors)}")
            factor = factors[name]
            indices = _level_indices(factor, kept_levels)
            narrowed = _select_levels(factor, indices)
            if name in self.within and not any(level.items() <= reference.items() for level in narrowed.levels):
                reference |= narrowed.levels[0]
            elif factor.labels:  # the reference is a level, whatever other levels are kept
                reference_index = factor.labels.index(factor.label(reference) or "")
                if reference_index not in indices:
                    narrowed = _select_levels(factor, [reference_index, *indices])
            factors[name] = narrowed
        return replace(self, factors=list(factors.values()), reference=reference)

    def seed_list(self, count: int | None = None) -> list[int]:
        """Return the seeds of every variant.

        Args:
            count: another number of them; of a list the first.

        Raises:
            UserError: fewer than one, more than the study lists, or one that is negative or there twice.
        """
        return seed_list(self.seeds, count)

    def profile(self, name: str) -> dict[str, Any]:
        """Return the settings of a profile: the study's over its base over the task's own.

        Raises:
            UserError: unknown profile.
        """
        return {**profile_settings(self.task, name), **self.base, **self.profiles.get(name, {})}


def _level_indices(factor: Factor, kept_levels: Sequence[Any]) -> list[int]:
    """Return the positions of levels, which a command names by label or value."""
    names = factor.labels or tuple(
        level[factor.name] if factor.paths == (factor.name,) else "off" for level in factor.levels
    )
    if None not in names:  # "none" is the name of a level of some factors
        kept_levels = ["none" if name is None else name for name in kept_levels]
    for name in kept_levels:
        if name not in names:
            known = ", ".join(map(str, names))
            raise UserError(f"--only {factor.name}={name}: no such level; '{factor.name}' has {known}")
    return [index for index, name in enumerate(names) if name in kept_levels]


def _select_levels(factor: Factor, indices: Sequence[int]) -> Factor:
    labels = tuple(factor.labels[index] for index in indices) if factor.labels else ()
    return Factor(factor.name, tuple(factor.levels[index] for index in indices), labels)
