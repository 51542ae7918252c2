"""A search replayed on a recorded grid: real samplers and schedulers, and curves looked up instead of trained.

Workers are simulated event by event with the recorded seconds: an event is the end of one outer iteration of one
trial. As in a study, a config that has ended before is answered at once and costs nothing, and one that is still
running is not run twice: the worker that got it waits for the next trial to end. A scheduler is Ray Tune's own, handed
one report after the other.

A search has *reached* the target when a trial that ran its full length ends at or above it; what a trial that was
stopped had seen does not count, nor does a good value on the way.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import optuna
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.tune.schedulers import TrialScheduler

Config = tuple[int, ...]  # the index of the level of each factor
METRIC = "map"
TIME = "training_iteration"  # as the scheduler reads them
PATIENCE = 50  # suggestions in a row that repeat a config after which a search is given up


@dataclass(frozen=True)
class Grid:
    """Curves of every config of a full grid, for one training seed.

    Args:
        levels: the levels of each factor, ascending.
        metric: (levels of the first factor, ..., iterations), higher is better.
        seconds: of the same shape, that each iteration took.
    """

    levels: dict[str, list[float]]
    metric: np.ndarray
    seconds: np.ndarray

    @property
    def iterations(self) -> int:
        return self.metric.shape[-1]

    @property
    def configs(self) -> int:
        return self.metric[..., -1].size

    @property
    def best(self) -> float:
        """The best value at full length."""
        return float(self.metric[..., -1].max())

    @property
    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """Levels are evenly spaced on a log axis; a sampler is given the place on it, so it knows their order."""
        return {name: optuna.distributions.IntDistribution(0, len(of) - 1) for name, of in self.levels.items()}


def read(path: Path, seed: int) -> Grid:
    """The grid of one training seed from a table of one row a config, seed and iteration.

    Raises:
        ValueError: a config or an iteration is missing or stands twice.
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
        raise ValueError(f"{path}, seed {seed}: {(times != 1).sum()} of {times.size} points are not there exactly once")
    metric = np.empty(shape)
    seconds = np.empty(shape)
    metric[at] = table[METRIC].to_numpy()
    seconds[at] = table["seconds"].to_numpy()
    return Grid({name: levels[name].tolist() for name in names}, metric, seconds)


@dataclass(frozen=True)
class Outcome:
    """What a search had spent when it reached the target; what it spent in all when it did not."""

    reached: bool
    trials: int  # started
    epochs: int  # outer iterations that had ended, of all trials
    seconds: float  # on the simulated clock
    suggestions: int  # repeated ones too


@dataclass
class Running:
    """A trial on a worker; `trial_id` is what the scheduler knows it by."""

    trial_id: str
    config: Config
    trial: optuna.trial.Trial
    iteration: int = 0
    same: list[optuna.trial.Trial] = field(default_factory=list)  # suggestions of this config since it started


def search(
    grid: Grid,
    sampler: optuna.samplers.BaseSampler,
    scheduler: TrialScheduler,
    target: float,
    workers: int = 1,
    stopped_as: Literal["complete", "pruned"] = "complete",
) -> Outcome:
    """Search the grid until a trial of full length ends at `target` or better.

    Args:
        grid: where the curves come from.
        sampler: Optuna's; new, with its seed.
        scheduler: Ray Tune's, new, with metric `METRIC`, mode max and time `TIME`; `FIFOScheduler` stops nothing.
        target: the value to reach.
        workers: trials at a time.
        stopped_as: how Optuna is told of a trial that was stopped: "complete" with its last value, as Ray Tune's
            `OptunaSearch` does, or "pruned" with its curve.

    Returns:
        The outcome; not reached when every config has ended, or after `PATIENCE`.
    """
    study = optuna.create_study(direction="maximize", sampler=sampler)
    ended: dict[Config, int] = {}  # how many iterations it ran
    running: dict[Config, Running] = {}
    events: list[tuple[float, int, Running]] = []
    order = count()  # of events at the same time
    repeats = 0  # since a config was last new
    idle = workers
    waiting = False  # a free worker waits when what it got is running elsewhere
    epochs = 0
    now = 0.0

    def schedule(run: Running) -> None:
        heapq.heappush(events, (now + grid.seconds[run.config][run.iteration], next(order), run))

    def tell(trial: optuna.trial.Trial, config: Config) -> None:
        curve: Sequence[float] = grid.metric[config][: ended[config]].tolist()
        for iteration, value in enumerate(curve, start=1):
            trial.report(value, iteration)
        if len(curve) < grid.iterations and stopped_as == "pruned":
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, curve[-1])

    def outcome(reached: bool) -> Outcome:
        return Outcome(reached, len(ended) + len(running), epochs, now, len(study.trials))

    while len(ended) < grid.configs:
        while idle and not waiting and repeats < PATIENCE:
            trial = study.ask(grid.distributions)
            config = tuple(trial.params[name] for name in grid.levels)
            repeats += 1
            if config in ended:
                tell(trial, config)
            elif config in running:
                running[config].same.append(trial)
                waiting = True
            else:
                run = running[config] = Running(f"trial-{trial.number}", config, trial)
                scheduler.on_trial_add(None, run)
                schedule(run)
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
            schedule(run)
            continue
        if last:  # Ray Tune tells a scheduler of the end of a trial only when it was not the scheduler who stopped it
            scheduler.on_trial_complete(None, run, report)
        if last and report[METRIC] >= target:
            return outcome(True)
        del running[run.config]
        ended[run.config] = run.iteration
        idle = idle + 1
        waiting = False
        for trial in (run.trial, *run.same):
            tell(trial, run.config)
    return outcome(False)
