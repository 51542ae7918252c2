"""An `Ablation`: a question about named factors, answered against a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from raysearch.core import Problems, UserError, nearest
from raysearch.studies.configs import TASKS, check_limit, profile_settings, seed_list
from raysearch.studies.design import level_names, study_values
from raysearch.studies.design.adaptive_seeds import Adaptive
from raysearch.studies.design.factors import Factor

Design = Literal["one_at_a_time", "full", "leave_one_out"]
DESIGNS: tuple[Design, ...] = ("one_at_a_time", "full", "leave_one_out")


@dataclass(frozen=True)
class Ablation:
    """A question about named factors, answered against a reference with the same seeds for every variant.

    Sizes in pixels are given for an image of 224 px and scale with `data.side`.

    Args:
        question: the question that the report answers.
        task: the name of a task, for example "retrieval"; or your own function or class, see `docs/your_model.md`, or
            where it is, such as "my_task.py:train".
        base: settings of every variant; for your own task a dict, a dataclass or a pydantic model with all settings.
        reference: the setting of the factors that the other variants are compared with.
        factors: the factors that vary.
        design: "one_at_a_time" changes one factor from the reference; "full" crosses all levels; "leave_one_out"
            switches one component off at a time.
        within: names of factors whose levels each have a reference of their own, in a "full" design. With "hash.bits",
            the others are compared at 12 bits with the reference at 12 bits.
        seeds: how many, counted from 0, or the list itself; or `Adaptive()`, which runs more seeds only where the
            comparison is undecided.
        metric: column of the results that variants are compared by.
        mode: "max" if a higher metric is better, "min" if a lower one is.
        profiles: profile name -> settings, on top of the task's own.
        published: `paper/name` of published numbers to show beside, a file of `search_spaces/published`. `{data}` in it
            stands for the layout of the run's data set, such as cub; a name without it shows that file's numbers on
            every data set.
        metrics: further metrics of a retrieval study, such as ["my_metric.py:ndcg"]; see `docs/your_model.md`.
        step_limit: seconds after which the worker of an unfinished step (an outer iteration) is replaced as hung. None:
            20 times the slowest step so far, at least ten minutes, and four hours where there is nothing to compare
            with. `float("inf")` sets no limit.
        data: name -> path or URI of shards, of a study on several data sets; None in place of a path is the embedded
            data set. `--data` replaces all of them.
    """

    question: str
    task: Any  # its name, once the study is made
    reference: Mapping[str, Any]
    factors: list[Factor]
    base: Any = field(default_factory=dict)
    design: Design = "one_at_a_time"
    within: tuple[str, ...] = ()
    seeds: int | list[int] | Adaptive = 5
    metric: str = "map"
    mode: Literal["max", "min"] = "max"
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: str | None = None
    metrics: Sequence[str] = ()
    step_limit: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)  # name -> str or None, once the study is made

    def __post_init__(self) -> None:
        problems = Problems()
        if self.metrics and isinstance(self.base, Mapping):
            metrics = list(study_values.read_names(self.metrics, "metrics", problems))
            study_values.set_fields(self, base={**self.base, "evaluation.metrics": metrics}, metrics=())
        named = [self.reference, *study_values.levels_of(self.factors), *study_values.mappings_in(self.profiles)]
        study_values.register_user_task(self, named, [self.metric], [], problems)
        study_values.check_question_and_task(self.question, self.task, problems)
        self._read_values(problems)
        if self.task in TASKS:
            self._check_design(problems)
        study_values.report(problems)

    def _read_values(self, problems: Problems) -> None:
        """Replace the values by plain ones, and check each by itself."""
        study_values.set_fields(
            self,
            base=study_values.read_settings(self.base, "base", self.task, problems),
            reference=study_values.read_settings(self.reference, "reference", self.task, problems),
            factors=study_values.read_factors(self.factors, self.task, problems),
            profiles=study_values.read_profiles(self.profiles, self.task, problems),
            within=study_values.read_names(self.within, "within", problems),
            seeds=self.seeds if isinstance(self.seeds, Adaptive) else study_values.read_seeds(self.seeds, problems),
            data=study_values.read_data_sets(self.data, problems),
        )
        for name in ("metric", "mode", "design"):
            with problems.caught():
                study_values.check_text(getattr(self, name), name)
        if self.published is not None:
            with problems.caught():
                study_values.check_text(self.published, "published")
        with problems.caught():
            check_limit(self.step_limit)

    def _check_design(self, problems: Problems) -> None:
        if self.design not in DESIGNS:
            problems.add(f"unknown design '{self.design}'{nearest(str(self.design), DESIGNS)}")
        if self.mode not in ("max", "min"):
            problems.add(f"mode must be max or min, not '{self.mode}'")
        for factor in self.factors:
            with problems.caught():
                study_values.check_factor_name(factor.name, factor.paths, self.task)
            with problems.caught():
                self._check_factor(factor)
        for name, settings in self.profiles.items():
            for path in settings:
                if path in self.reference:
                    problems.add(f"profile '{name}' sets '{path}', which the reference sets for every profile")
        if not self.factors:
            problems.add("a study needs at least one factor")
        with problems.caught():
            self._check_names()

    def _check_factor(self, factor: Factor) -> None:
        if not factor.levels:
            raise UserError(f"factor '{factor.name}' has no levels")
        if self.design == "leave_one_out" and len(factor.levels) != 1:
            raise UserError(f"leave_one_out needs one 'off' setting for '{factor.name}', got {len(factor.levels)}")
        if factor.labels and factor.label(self.reference) is None:
            labels = ", ".join(map(repr, factor.labels))
            raise UserError(f"the reference is none of the levels of '{factor.name}': {labels}")

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
        study_values.check_distinct(names, "factors")

    def only(self, levels: Mapping[str, Sequence[Any]]) -> "Ablation":
        """Return the study with some levels of some factors; the reference stays.

        Args:
            levels: factor name -> levels to keep: values of a path, labels of a choice, or a text with the names of
                several, separated by commas. Of a factor in `within` the reference moves to the first of them, unless
                it has one of them.

        Raises:
            UserError: no such factor or level; of several each.
        """
        factors = {factor.name: factor for factor in self.factors}
        reference = dict(self.reference)
        problems = Problems()
        for name, kept_levels in levels.items():
            if name not in factors:
                problems.add(f"--only {name}: no such factor{nearest(name, factors)}")
                continue
            factor = factors[name]
            indices: list[int] = []
            with problems.caught():
                indices = level_names.find_levels(factor, kept_levels, self.task)
            if not indices:
                continue
            narrowed = _select_levels(factor, indices)
            if name in self.within and not any(level.items() <= reference.items() for level in narrowed.levels):
                reference |= narrowed.levels[0]
            elif factor.labels:  # the reference is a level, whatever other levels are kept
                reference_index = factor.labels.index(factor.label(reference) or "")
                if reference_index not in indices:
                    narrowed = _select_levels(factor, [reference_index, *indices])
            factors[name] = narrowed
        problems.raise_all()
        return replace(self, factors=list(factors.values()), reference=reference)

    def seed_list(self, count: int | None = None) -> list[int]:
        """Return the seeds of every variant.

        Args:
            count: another number of them; of a list the first. An adaptive study has those of its last look.

        Raises:
            UserError: fewer than one, more than the study lists, or one that is negative or there twice.
        """
        return seed_list(self.seeds.most_seeds if isinstance(self.seeds, Adaptive) else self.seeds, count)

    @property
    def varied(self) -> list[str]:
        """Names of the factors."""
        return [factor.name for factor in self.factors]

    def profile(self, name: str) -> dict[str, Any]:
        """Return the settings of a profile: the study's over its base over the task's own.

        Raises:
            UserError: unknown profile.
        """
        return {**profile_settings(self.task, name), **self.base, **self.profiles.get(name, {})}


def _select_levels(factor: Factor, indices: Sequence[int]) -> Factor:
    labels = tuple(factor.labels[index] for index in indices) if factor.labels else ()
    return Factor(factor.name, tuple(factor.levels[index] for index in indices), labels)
