"""What a study file says: a `Search` for the best config in a space, judged on seeds that it never saw."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raysearch.core.errors import UserError, nearest
from raysearch.studies.configs import TASKS, overrides
from raysearch.studies.configs.profiles import check_limit, check_profiles, profile_settings, seed_list
from raysearch.studies.design.factors import Factor

SAMPLERS = ("tpe", "gp", "cmaes", "nsga2", "nsga3", "qmc", "random", "grid")
SCHEDULERS = ("asha", "hyperband", "median", "pbt")

Space = Mapping[str, Any] | Callable[[Any], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Search:
    """A question for the best config, answered by Optuna and Ray Tune, and then judged against a reference.

    Sizes in pixels are given for an image of 224 px and scale with `data.side`.

    Args:
        question: what the report answers.
        task: "retrieval".
        space: config path -> Ray Tune distribution (`tune.loguniform(1e-4, 1e-1)`), or, where one choice decides which
            others there are, a function that asks an Optuna trial (`trial.suggest_float("esrl.positive", 0.01, 1)`) by
            config paths, and may return further settings.
        base: settings of every config.
        reference: settings that the best config is judged against, on top of the base; none are the base itself.
        metric: what is chosen by, or several of them for a Pareto front: "map_validation", "epoch_seconds".
        mode: "max" or "min", one a metric.
        trials: configs to try, in each group.
        sampler: of Optuna: "tpe", "gp", "cmaes", "nsga2", "nsga3", "qmc", "random", "grid".
        sampler_options: of the sampler's constructor.
        scheduler: stops configs early by the first metric: "asha", "hyperband" (asynchronous), "median"; "pbt" moves
            the settings of a population while it trains. None runs every config to its end. TPE with ASHA that leaves
            each config a third of its iterations needed fewest epochs in `benchmarks/search_efficiency.py`.
        scheduler_options: of the scheduler's constructor, on top of such a third.
        starts: settings to try first.
        group: a factor each of whose levels is searched by itself, as a code length.
        seeds: each config is run with, the mean of which counts; how many, counted from 0, or the list itself.
        judge_seeds: fresh seeds on which the best config and the reference meet at the end; 0 leaves that out.
        judge_metric: what they are compared by.
        profiles: settings by profile name, on top of the task's own.
        step_limit: seconds that a step (an outer iteration) may take before its worker counts as hung and is replaced.
    """

    question: str
    task: str
    space: Space
    base: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)
    metric: str | list[str] = "map_validation"
    mode: str | list[str] = "max"
    trials: int = 30
    sampler: str = "tpe"
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    scheduler: str | None = "asha"
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    starts: list[Mapping[str, Any]] = field(default_factory=list)
    group: Factor | None = None
    seeds: int | list[int] = 1
    judge_seeds: int = 5
    judge_metric: str = "map"
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    step_limit: float | None = None

    def __post_init__(self) -> None:
        overrides.known_paths(self.task)
        check_profiles(self.task, self.profiles)
        check_limit(self.step_limit)
        named = {"base": self.base, "reference": self.reference}
        named |= {f"start {index + 1}": start for index, start in enumerate(self.starts)}
        if not callable(self.space):
            named["space"] = self.space
            if not self.space:
                raise UserError("a search needs a space of at least one config path")
            for path in {"data.side", "data.zoom"} & set(self.space):
                raise UserError(f"'{path}' cannot be searched, since images are decoded beforehand; make it the group")
        if self.group:
            named |= {f"group '{self.group.name}'": level for level in self.group.levels}
        for where, settings in named.items():
            overrides.check_paths(settings, self.task, where)
        for name, value, known in (
            ("sampler", self.sampler, SAMPLERS),
            ("scheduler", self.scheduler, (None, *SCHEDULERS)),
        ):
            if value not in known:
                raise UserError(f"unknown {name} '{value}'{nearest(str(value), [one for one in known if one])}")
        self._check_metrics()
        self._check_population()
        if self.trials < 1:
            raise UserError(f"a search needs at least one trial, not {self.trials}")
        if self.judge_seeds < 0:
            raise UserError(f"judge_seeds is 0 or more, not {self.judge_seeds}")
        seed_list(self.seeds)

    @property
    def metrics(self) -> list[str]:
        return [self.metric] if isinstance(self.metric, str) else list(self.metric)

    @property
    def modes(self) -> list[str]:
        modes = [self.mode] if isinstance(self.mode, str) else list(self.mode)
        return modes * len(self.metrics) if len(modes) == 1 else modes

    def tuning_seeds(self, count: int | None = None) -> list[int]:
        """The seeds that each config is run with."""
        return seed_list(self.seeds, count)

    def judging_seeds(self, tuning: list[int]) -> list[int]:
        """Seeds that no config was chosen by."""
        first = max(tuning) + 1
        return list(range(first, first + self.judge_seeds))

    def profile(self, name: str) -> dict[str, Any]:
        """Settings of a profile: the task's own under the study's base under the study's profile."""
        return {**profile_settings(self.task, name), **self.base, **self.profiles.get(name, {})}

    def _check_metrics(self) -> None:
        known = TASKS[self.task].objectives
        for metric in self.metrics:
            if metric not in known:
                raise UserError(
                    f"a search cannot choose by '{metric}': the test split chooses nothing; "
                    f"it can choose by {', '.join(known)}"
                )
        if len(self.modes) != len(self.metrics) or set(self.modes) - {"max", "min"}:
            raise UserError(f"mode must be max or min for each of {self.metrics}, not {self.mode}")
        if self.scheduler and self.metrics[0] == "epoch_seconds":
            raise UserError("a scheduler stops by the first metric, which epoch_seconds cannot be: set scheduler=None")

    def _check_population(self) -> None:
        if self.scheduler != "pbt":
            return
        if callable(self.space):
            raise UserError("scheduler 'pbt' needs a space of distributions, not a function")
        movable = TASKS[self.task].movable
        for path in self.space:
            if path not in movable:
                raise UserError(
                    f"scheduler 'pbt' changes settings of a model in training, which '{path}' cannot be"
                    f"{nearest(path, movable)}"
                )
        if len(seed_list(self.seeds)) > 1 or len(self.metrics) > 1:
            raise UserError("scheduler 'pbt' takes one seed and one metric: its members compete while they train")
