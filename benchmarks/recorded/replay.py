"""Replay a search on a recorded grid: real samplers and schedulers, with curves looked up instead of trained.

Workers are simulated event by event with the recorded seconds. An event is the end of one outer iteration of one trial.
As in a study, a config that has finished is answered at once and costs nothing. A config that is still running is not
run twice: the worker that got it waits for the next trial to end. The scheduler is Ray Tune's own and gets one report
after the other.

A search has *reached* the target when a trial of full length ends at or above it. The values of a stopped trial do not
count, nor does a good value before the end.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import optuna
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.tune.schedulers import TrialScheduler

Config = tuple[int, ...]  # per factor, the index of its level
METRIC = "map"
TIME = "training_iteration"  # the scheduler reads both names
PATIENCE = 50  # a search gives up after this many suggestions in a row that repeat a config
_SUGGESTED = tuple(state for state in optuna.trial.TrialState if state != optuna.trial.TrialState.WAITING)


@dataclass(frozen=True)
class Grid:
    """The curves of every config of a full grid, for one training seed.

    Args:
        levels: levels of each factor, ascending.
        metric: (levels of the first factor, ..., iterations), higher is better.
        seconds: duration of each iteration, in the same shape.
    """

    levels: dict[str, list[float]]
    metric: np.ndarray
    seconds: np.ndarray

    @property
    def iterations(self) -> int:
        """The number of outer iterations of a full trial."""
        return self.metric.shape[-1]

    @property
    def configs(self) -> int:
        """The number of configs."""
        return self.metric[..., -1].size

    @property
    def best(self) -> float:
        """The best value at full length."""
        return float(self.metric[..., -1].max())

    @property
    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """Index distributions of the factors. The levels are even on a log axis, so an index gives their order."""
        distribution = optuna.distributions.IntDistribution
        return {name: distribution(0, len(levels) - 1) for name, levels in self.levels.items()}


def read_grid(path: Path, seed: int) -> Grid:
    """Read the grid of one training seed.

    Args:
        path: table with one row per config, seed and iteration.
        seed: the training seed.

    Raises:
        ValueError: a config or an iteration is missing or occurs twice.
    """
    table = pq.read_table(path)
    table = table.filter(pc.equal(table["seed"], seed))
    names = [name for name in table.column_names if name not in ("seed", "iteration", METRIC, "seconds")]
    columns = {name: table[name].to_numpy() for name in [*names, "iteration"]}
    levels = {name: np.unique(column) for name, column in columns.items()}
    shape = tuple(map(len, levels.values()))
    at = tuple(np.searchsorted(levels[name], column) for name, column in columns.items())
    times = np.zeros(shape, dtype=int)
    np.add.at(times, at, 1)
    if not (times == 1).all():
        wrong = (times != 1).sum()
        raise ValueError(f"{path}, seed {seed}: {wrong} of {times.size} points do not occur once; record it again")
    metric = np.empty(shape)
    seconds = np.empty(shape)
    metric[at] = table[METRIC].to_numpy()
    seconds[at] = table["seconds"].to_numpy()
    return Grid({name: levels[name].tolist() for name in names}, metric, seconds)


@dataclass(frozen=True)
class StartedTrial:
    """A trial that a search started.

    Attributes:
        config: what it ran.
        told: number of ended trials that the sampler knew when it suggested the config.
        iterations: finished when the search ended.
    """

    config: Config
    told: int
    iterations: int


@dataclass(frozen=True)
class Outcome:
    """The cost of a search until it reached the target, or its whole cost if it did not."""

    reached: bool
    trials: int  # trials started
    epochs: int  # finished outer iterations of all trials
    seconds: float  # on the simulated clock
    suggestions: int  # including repeated ones
    ended: Mapping[Config, int] = field(default_factory=dict, compare=False, repr=False)  # iterations of each config
    started: Sequence[StartedTrial] = field(default=(), compare=False, repr=False)  # in the order of their start


@dataclass
class Running:
    """A trial on a worker; the scheduler identifies it by `trial_id`."""

    trial_id: str
    config: Config
    trial: optuna.trial.Trial | None = None  # None: of an earlier study
    told: int = 0  # ended trials that the sampler knew when it suggested this one
    iteration: int = 0
    repeated: list[optuna.trial.Trial] = field(default_factory=list)  # suggestions of this config since it started


def search(
    grid: Grid,
    sampler: optuna.samplers.BaseSampler,
    scheduler: TrialScheduler,
    target: float,
    workers: int = 1,
    stopped_as: Literal["complete", "pruned"] = "complete",
    known: Mapping[Config, int] = MappingProxyType({}),
    trials: float = math.inf,
    starts: Sequence[Config] = (),
) -> Outcome:
    """Search the grid until a trial of full length ends at `target` or better.

    Args:
        grid: the recorded curves.
        sampler: a new sampler of Optuna with its seed.
        scheduler: a new scheduler of Ray Tune with metric `METRIC`, mode max and time `TIME`. `FIFOScheduler` stops
            nothing.
        target: the value to reach.
        workers: number of trials that run at a time.
        stopped_as: the state in which Optuna gets a stopped trial: "complete" with its last value, as in Ray Tune's
            `OptunaSearch`, or "pruned" with its curve.
        known: config -> iterations that earlier studies ran. Sampler and scheduler learn these curves first, at no
            cost. As in a study, a config of full length costs nothing either when it is suggested again.
        trials: most trials to start.
        starts: configs to try first, before the sampler suggests any.

    Returns:
        The outcome. The target is not reached when every config has ended, or after `PATIENCE` repeats. It is reached
        at no cost if a known config of full length does.
    """
    study = optuna.create_study(direction="maximize", sampler=sampler)
    ended: dict[Config, int] = {}  # number of its iterations
    running: dict[Config, Running] = {}
    events: list[tuple[float, int, Running]] = []
    order = count()  # breaks ties between events at the same time
    repeats = 0  # suggestions since the last new config
    idle = workers
    waiting = False  # whether a free worker waits, because its config is running elsewhere
    started: list[Running] = []
    told = len(known)
    epochs = 0
    now = 0.0

    def _schedule(run: Running) -> None:
        heapq.heappush(events, (now + grid.seconds[run.config][run.iteration], next(order), run))

    def _learn(config: Config, iterations: int) -> None:
        run = Running(f"known-{config}", config)
        curve = grid.metric[config][:iterations].tolist()
        scheduler.on_trial_add(None, run)
        reports = [{TIME: step, METRIC: value} for step, value in enumerate(curve, start=1)]
        for report in reports[: grid.iterations - 1]:
            scheduler.on_trial_result(None, run, report)
        scheduler.on_trial_complete(None, run, reports[-1])
        is_whole = iterations == grid.iterations
        is_pruned = stopped_as == "pruned" and not is_whole
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.PRUNED if is_pruned else optuna.trial.TrialState.COMPLETE,
                params=dict(zip(grid.levels, config, strict=True)),
                distributions=grid.distributions,
                value=None if is_pruned else curve[-1],
                intermediate_values=dict(enumerate(curve, start=1)),
            )
        )
        if is_whole:
            ended[config] = iterations

    def _tell(trial: optuna.trial.Trial, config: Config) -> None:
        nonlocal told
        told += 1
        curve: Sequence[float] = grid.metric[config][: ended[config]].tolist()
        for iteration, value in enumerate(curve, start=1):
            trial.report(value, iteration)
        if len(curve) < grid.iterations and stopped_as == "pruned":
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, curve[-1])

    def _outcome(reached: bool) -> Outcome:
        trials_started = [StartedTrial(run.config, run.told, run.iteration) for run in started]
        suggestions = len(study.get_trials(deepcopy=False, states=_SUGGESTED)) - len(known)
        return Outcome(reached, len(started), epochs, now, suggestions, ended, trials_started)

    for config, iterations in known.items():
        _learn(config, iterations)
    if any(grid.metric[config][-1] >= target for config in ended):
        return _outcome(True)
    for config in starts:
        study.enqueue_trial(dict(zip(grid.levels, config, strict=True)))
    while len(ended) < grid.configs:
        while idle and not waiting and repeats < PATIENCE and len(started) < trials:
            trial = study.ask(grid.distributions)
            config = tuple(trial.params[name] for name in grid.levels)
            repeats += 1
            if config in ended:
                _tell(trial, config)
            elif config in running:
                running[config].repeated.append(trial)
                waiting = True
            else:
                run = running[config] = Running(f"trial-{trial.number}", config, trial, told)
                scheduler.on_trial_add(None, run)
                _schedule(run)
                started.append(run)
                idle = idle - 1
                repeats = 0
        if not events:
            break
        now, _, run = heapq.heappop(events)
        run.iteration += 1
        epochs += 1
        report = {TIME: run.iteration, METRIC: grid.metric[run.config][run.iteration - 1]}
        last = run.iteration == grid.iterations
        if not last and scheduler.on_trial_result(None, run, report) == TrialScheduler.CONTINUE:
            _schedule(run)
            continue
        if last:  # Ray Tune informs a scheduler of a trial's end only if the scheduler did not stop that trial
            scheduler.on_trial_complete(None, run, report)
        if last and report[METRIC] >= target:
            return _outcome(True)
        del running[run.config]
        ended[run.config] = run.iteration
        idle = idle + 1
        waiting = False
        for trial in (run.trial, *run.repeated):
            _tell(trial, run.config)
    return _outcome(False)
