"""A `Search`: the question of the best config in a space, judged on seeds that chose nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raysearch.core import UserError, nearest
from raysearch.studies.configs import TASKS, check_limit, check_profiles, overrides, profile_settings, seed_list
from raysearch.studies.design.factors import Factor
from raysearch.studies.design.search_methods import SAMPLERS, SCHEDULERS

Space = Mapping[str, Any] | Callable[[Any], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Search:
    """A question about the best config, answered by Optuna and Ray Tune, and then judged against a reference.

    Sizes in pixels are given for an image of 224 px and scale with `data.side`.

    Args:
        question: the question that the report answers.
        task: the name of a task, for example "retrieval".
        space: config path -> Ray Tune distribution, such as `tune.loguniform(1e-4, 1e-1)`. Where one choice decides
        which
            others there are, a function that asks an Optuna trial by config paths, such as
            `trial.suggest_float("esrl.positive", 0.01, 1)`, and may return further settings.
        base: settings of every config.
        reference: settings that the best config is judged against, on top of the base.
        metric: the metric that configs are chosen by, such as "map_validation"; a list gives a Pareto front.
        mode: "max" or "min", or one per metric.
        trials: configs to try, in each group.
        sampler: chooses the configs: "tpe", "gp", "cmaes", "nsga2", "nsga3", "qmc", "random", "grid", or your own.
        sampler_options: keyword arguments of the sampler's constructor.
        scheduler: stops configs early by the first metric: "asha", "hyperband" (asynchronous), "median", or your own;
            "pbt" moves the settings of a population while it trains. None runs every config to its end. TPE with ASHA
            needed the fewest epochs in `benchmarks/search_efficiency.py`, where ASHA left each config a third of its
            iterations.
        scheduler_options: keyword arguments of the scheduler's constructor. By default each config has such a third.
        starts: settings to try first.
        group: a factor; each of its levels is searched separately, for example each code length.
        seeds: the seeds of each config, whose mean counts: how many, counted from 0, or the list itself.
        judge_seeds: fresh seeds on which the best config and the reference meet at the end; 0 leaves that out.
        judge_metric: the metric of that comparison.
        profiles: profile name -> settings, on top of the task's own.
        step_limit: seconds after which the worker of an unfinished step (an outer iteration) is replaced as hung.
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
        self._check_paths()
        SAMPLERS[self.sampler]  # raises for an unknown name
        if self.scheduler is not None:
            SCHEDULERS[self.scheduler]
        self._check_metrics()
        if self.trains_population:
            self._check_population()
        if self.trials < 1:
            raise UserError(f"a search needs at least one trial, not {self.trials}")
        if self.judge_seeds < 0:
            raise UserError(f"judge_seeds is 0 or more, not {self.judge_seeds}")
        seed_list(self.seeds)

    @property
    def metrics(self) -> list[str]:
        """The metrics that configs are chosen by."""
        return [self.metric] if isinstance(self.metric, str) else list(self.metric)

    @property
    def modes(self) -> list[str]:
        """ "max" or "min" per metric."""
        modes = [self.mode] if isinstance(self.mode, str) else list(self.mode)
        return modes * len(self.metrics) if len(modes) == 1 else modes

    @property
    def trains_population(self) -> bool:
        """Whether the configs are a population, whose settings the scheduler moves while they train."""
        return self.scheduler is not None and SCHEDULERS[self.scheduler].moves_settings

    def tuning_seeds(self, count: int | None = None) -> list[int]:
        """Return the seeds that each config is run with.

        Args:
            count: another number of them; of a list the first.

        Raises:
            UserError: fewer than one, or more than the study lists.
        """
        return seed_list(self.seeds, count)

    def judging_seeds(self, tuning: list[int]) -> list[int]:
        """Return seeds above the tuning seeds: no config was chosen by them."""
        first = max(tuning) + 1
        return list(range(first, first + self.judge_seeds))

    def profile(self, name: str) -> dict[str, Any]:
        """Return the settings of a profile: the study's over its base over the task's own.

        Raises:
            UserError: unknown profile.
        """
        return {**profile_settings(self.task, name), **self.base, **self.profiles.get(name, {})}

    def _check_paths(self) -> None:
        places = {"base": self.base, "reference": self.reference}
        places |= {f"start {index + 1}": start for index, start in enumerate(self.starts)}
        if not callable(self.space):
            if not self.space:
                raise UserError("a search needs a space of at least one config path")
            for path in {"data.side", "data.zoom"} & set(self.space):
                raise UserError(f"'{path}' cannot be searched, since images are decoded beforehand; make it the group")
            places["space"] = self.space
        if self.group:
            places |= {f"group '{self.group.name}'": level for level in self.group.levels}
        for place, settings in places.items():
            overrides.check_paths(settings, self.task, place)

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
        name = f"scheduler '{self.scheduler}'"
        if callable(self.space):
            raise UserError(f"{name} needs a space of distributions, not a function")
        movable = TASKS[self.task].movable
        for path in self.space:
            if path not in movable:
                raise UserError(
                    f"{name} changes settings of a model in training, which '{path}' cannot be{nearest(path, movable)}"
                )
        if len(seed_list(self.seeds)) > 1 or len(self.metrics) > 1:
            raise UserError(f"{name} takes one seed and one metric: its members compete while they train")
