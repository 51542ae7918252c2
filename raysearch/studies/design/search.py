"""A `Search`: the question of the best config in a space, judged on seeds that chose nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raysearch.core import Problems, nearest, user_code
from raysearch.studies.configs import TASKS, check_limit, overrides, profile_settings, seed_list
from raysearch.studies.configs.user.config import STEP_NAMES
from raysearch.studies.design import factors, level_names, search_methods, study_values

Space = Mapping[str, Any] | Callable[[Any], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Search:
    """A question about the best config, answered by Optuna and Ray Tune, and then judged against a reference.

    Sizes in pixels are given for an image of 224 px and scale with `data.side`.

    Args:
        question: the question that the report answers.
        task: the name of a task, for example "retrieval"; or your own function or class, see `docs/your_model.md`, or
            where it is, such as "my_task.py:train".
        space: config path -> Ray Tune distribution, such as `tune.loguniform(1e-4, 1e-1)`. Where one choice decides
        which
            others there are, a function that asks an Optuna trial by config paths, such as
            `trial.suggest_float("esrl.positive", 0.01, 1)`, and may return further settings.
        base: settings of every config.
        reference: settings that the best config is judged against, on top of the base.
        objective: another name of `metric`, which it replaces.
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
        step_limit: seconds after which the worker of an unfinished step (an outer iteration) is replaced as hung. None:
            20 times the slowest step so far, at least ten minutes, and four hours where there is nothing to compare
            with. `float("inf")` sets no limit.
    """

    question: str
    task: Any  # its name, once the study is made
    space: Space
    base: Any = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)
    objective: str | list[str] | None = None
    metric: str | list[str] = "map_validation"
    mode: str | list[str] = "max"
    trials: int = 30
    sampler: str = "tpe"
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    scheduler: str | None = "asha"
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    starts: list[Mapping[str, Any]] = field(default_factory=list)
    group: factors.Factor | None = None
    seeds: int | list[int] = 1
    judge_seeds: int = 5
    judge_metric: str = "map"
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    step_limit: float | None = None

    def __post_init__(self) -> None:
        problems = Problems()
        if self.objective is not None:
            study_values.set_fields(self, metric=self.objective)
        self._settle_task(problems)
        study_values.check_question_and_task(self.question, self.task, problems)
        self._read_values(problems)
        for name, registry in (("sampler", search_methods.SAMPLERS), ("scheduler", search_methods.SCHEDULERS)):
            with problems.caught():
                if name == "sampler" or self.scheduler is not None:
                    registry.check_name(getattr(self, name))
        if self.task in TASKS:
            self._check_paths(problems)
            self._check_metrics(problems)
            if not problems.messages and self.trains_population:
                self._check_population(problems)
        study_values.report(problems)

    def _settle_task(self, problems: Problems) -> None:
        """Register a user's own task under the settings that the search names."""
        named = [
            self.reference,
            *study_values.levels_of([self.group]),
            *study_values.mappings_in(self.profiles),
            *(start for start in self.starts if isinstance(start, Mapping)),
        ]
        if isinstance(self.space, Mapping):
            named += [
                {path: value} for path, domain in self.space.items() for value in study_values.examples_of(domain)
            ]
        objectives = [self.metric] if isinstance(self.metric, str) else list(self.metric)
        study_values.register_user_task(self, named, [self.judge_metric], objectives, problems)

    def _read_values(self, problems: Problems) -> None:
        """Replace the values by plain ones, and check each by itself."""
        task = self.task
        study_values.set_fields(
            self,
            base=study_values.read_settings(self.base, "base", task, problems),
            reference=study_values.read_settings(self.reference, "reference", task, problems),
            profiles=study_values.read_profiles(self.profiles, task, problems),
            starts=[
                study_values.read_settings(start, f"start {number}", task, problems, complete=False)
                for number, start in enumerate(study_values.read_list(self.starts, "starts", problems), start=1)
            ],
            seeds=study_values.read_seeds(self.seeds, problems),
            space=study_values.read_space(self.space, problems),
            sampler_options=study_values.read_options(self.sampler_options, "sampler_options", problems),
            scheduler_options=study_values.read_options(self.scheduler_options, "scheduler_options", problems),
            metric=study_values.read_name_or_names(self.metric, "metric", problems),
            mode=study_values.read_name_or_names(self.mode, "mode", problems),
            trials=study_values.read_count(self.trials, "trials", 1, problems),
            judge_seeds=study_values.read_count(self.judge_seeds, "judge_seeds", 0, problems),
        )
        if self.group is not None:
            (group,) = study_values.read_factors([self.group], task, problems) or (None,)
            study_values.set_fields(self, group=group)
        with problems.caught():
            check_limit(self.step_limit)

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
        return self.scheduler is not None and search_methods.SCHEDULERS[self.scheduler].moves_settings

    @property
    def varied(self) -> list[str]:
        """Paths of the space and name of the group; a space that is a function is not known."""
        group = [self.group.name] if self.group else []
        return group if callable(self.space) else [*group, *self.space]

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

    def _check_paths(self, problems: Problems) -> None:
        if not callable(self.space):
            if not self.space:
                problems.add("a search needs a space of at least one config path")
            for path in {"data.side", "data.zoom"} & set(self.space):
                problems.add(f"'{path}' cannot be searched, since images are decoded beforehand; make it the group")
            known = overrides.known_paths(self.task)
            for path in self.space:
                if path not in known:
                    problems.add(f"unknown config path '{path}' in space{nearest(path, known)}")
        if self.group is None:
            return
        if not self.group.levels:
            problems.add(f"group '{self.group.name}' has no levels")
        described = [level_names.describe_settings(level) for level in self.group.levels]
        with problems.caught():
            study_values.check_distinct(described, f"group '{self.group.name}'")
        for path in self.group.paths:
            if not callable(self.space) and path in self.space:
                problems.add(f"'{path}' is in the space and in group '{self.group.name}'; leave it out of one of them")

    def _check_metrics(self, problems: Problems) -> None:
        known = TASKS[self.task].objectives
        for metric in self.metrics:
            if metric not in known:
                hint = nearest(metric, known)
                guess = hint if "did you mean" in hint else ""
                problems.add(
                    f"a search cannot choose by '{metric}': the test split chooses nothing; "
                    f"it can choose by {', '.join(known)}{guess}"
                )
        with problems.caught():
            study_values.check_distinct(self.metrics, "metric")
        if len(self.modes) != len(self.metrics) or set(self.modes) - {"max", "min"}:
            problems.add(f"mode must be max or min for each of {self.metrics}, not {self.mode}")
        if self.scheduler and self.metrics[:1] == ["epoch_seconds"]:
            problems.add("a scheduler stops by the first metric, which epoch_seconds cannot be: set scheduler=None")
        is_own = user_code.is_reference(self.task)
        if self.scheduler and is_own and not any(name in overrides.known_paths(self.task) for name in STEP_NAMES):
            problems.add(
                f"scheduler '{self.scheduler}' has to know how many steps a run has: add the setting 'epochs' to base, "
                "and loop by run.steps(run.config['epochs']); or set scheduler=None"
            )

    def _check_population(self, problems: Problems) -> None:
        name = f"scheduler '{self.scheduler}'"
        if callable(self.space):
            problems.add(f"{name} needs a space of distributions, not a function")
            return
        movable = TASKS[self.task].movable
        if not movable and user_code.is_reference(self.task):
            problems.add(f"{name} changes settings of a model in training, which a task of your own lacks; use asha")
            return
        for path in self.space:
            if path not in movable:
                problems.add(
                    f"{name} changes settings of a model in training, which '{path}' cannot be{nearest(path, movable)}"
                )
        if len(seed_list(self.seeds)) > 1 or len(self.metrics) > 1:
            problems.add(f"{name} takes one seed and one metric: its members compete while they train")
