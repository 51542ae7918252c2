"""What a study file says: an `Ablation` over named factors against a reference; `Search` is known here too."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from raysearch.core.errors import UserError, nearest
from raysearch.studies.configs import overrides
from raysearch.studies.configs.profiles import check_limit, check_profiles, profile_settings, seed_list
from raysearch.studies.design.factors import Factor, choice, component, factor
from raysearch.studies.design.search import Search

__all__ = ["DESIGNS", "Ablation", "Design", "Factor", "Search", "choice", "component", "factor"]

Design = Literal["one_at_a_time", "full", "leave_one_out"]
DESIGNS: tuple[Design, ...] = ("one_at_a_time", "full", "leave_one_out")


@dataclass(frozen=True)
class Ablation:
    """A question about named factors, answered against a reference with the same seeds for every variant.

    Sizes in pixels are given for an image of 224 px and scale with `data.side`.

    Args:
        question: what the report answers.
        task: "retrieval".
        base: settings of every variant.
        reference: the setting of the factors that the others are compared with.
        factors: what varies.
        design: "one_at_a_time" changes one factor from the reference; "full" crosses all levels; "leave_one_out"
            switches one component off at a time.
        within: names of factors whose every level has a reference of its own, in a "full" design: at 12 bits the others
            are compared with the reference at 12 bits.
        seeds: how many, counted from 0, or the list itself.
        metric: a column of the results, maximised or minimised as `mode` says.
        profiles: settings by profile name, on top of the task's own.
        published: `paper/name` of the published numbers to show beside, a file of `search_spaces/published`.
        step_limit: seconds that a step (an outer iteration) may take before its worker counts as hung and is replaced.
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
        for one in self.factors:
            overrides.check_paths(one.paths, self.task, f"factor '{one.name}'")
            if not one.levels:
                raise UserError(f"factor '{one.name}' has no levels")
            if self.design == "leave_one_out" and len(one.levels) != 1:
                raise UserError(f"leave_one_out needs one 'off' setting for '{one.name}', got {len(one.levels)}")
        for name, settings in self.profiles.items():
            for path in set(settings) & set(self.reference):
                raise UserError(f"profile '{name}' sets '{path}', which the reference sets for every profile")
        if not self.factors:
            raise UserError("a study needs at least one factor")
        names = [one.name for one in self.factors]
        for name in self.within:
            if name not in names:
                raise UserError(f"'{name}' in within is no factor{nearest(name, names)}")
            if self.design != "full":
                raise UserError(f"within takes a full design; this is {self.design}")
        for one in self.factors:
            if one.labels and one.label(self.reference) is None:
                raise UserError(f"the reference is none of the levels of '{one.name}': {', '.join(one.labels)}")
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"factor '{name}' stands twice; give it all its levels at once")
        self.seed_list()

    def only(self, wanted: Mapping[str, list[Any]]) -> "Ablation":
        """The study with some levels of some factors; the reference stays.

        Args:
            wanted: factor name -> levels: values of a path, or labels of a choice. Of a factor in `within` the
                reference moves to the first of them, unless it has one of them.

        Raises:
            UserError: no such factor or level.
        """
        factors, reference = {one.name: one for one in self.factors}, dict(self.reference)
        for name, levels in wanted.items():
            if name not in factors:
                raise UserError(f"--only {name}: no such factor{nearest(name, factors)}")
            one = factors[name]
            words = one.labels or tuple(level[one.name] if one.paths == (one.name,) else "off" for level in one.levels)
            if None not in words:  # "none" is a word of some factors
                levels = ["none" if level is None else level for level in levels]
            for level in levels:
                if level not in words:
                    known = ", ".join(map(str, words))
                    raise UserError(f"--only {name}={level}: no such level; '{name}' has {known}")
            kept = [index for index, word in enumerate(words) if word in levels]
            labels = tuple(one.labels[index] for index in kept) if one.labels else ()
            factors[name] = Factor(name, tuple(one.levels[index] for index in kept), labels)
            if name in self.within and not any(level.items() <= reference.items() for level in factors[name].levels):
                reference |= factors[name].levels[0]
            elif one.labels:  # the reference is a level whatever others are wanted
                own = one.labels.index(one.label(reference) or "")
                if own not in kept:
                    factors[name] = Factor(
                        name, (one.levels[own], *factors[name].levels), (one.labels[own], *factors[name].labels)
                    )
        return replace(self, factors=list(factors.values()), reference=reference)

    def seed_list(self, count: int | None = None) -> list[int]:
        """The seeds of every variant; `count` takes another number of them, of a list the first."""
        return seed_list(self.seeds, count)

    def profile(self, name: str) -> dict[str, Any]:
        """Settings of a profile: the task's own under the study's base under the study's profile."""
        return {**profile_settings(self.task, name), **self.base, **self.profiles.get(name, {})}
