"""Measure the savings by samplers and early stopping: searches replayed on a recorded grid of real small trainings.

    python benchmarks/search_efficiency.py [--quick]

Optuna's samplers and Ray Tune's ASHA search `recorded/retrieval_grid.parquet` (216 configs of nine epochs, which are
outer iterations here). A search ends when a trial of full length is close enough to the best of the grid. The script
counts the trials started and the epochs run until then, over 50 searches per method. A search that gives up is charged
the whole grid. The last line is JSON: ratios of mean costs within 1 % of the best with 4 trials at a time, then all
figures as [value, low, high] with 95 % bootstrap intervals over searches. One grid is one landscape: the intervals do
not carry over to another.

Measured with Ray 2.60 and Optuna 5.0: mean epochs, and the share of searches that reached the target, 4 trials at a
time:

    random 484 (100 %)    TPE 208 (100 %)    GP 182 (100 %)
    TPE with ASHA, grace period 1 of 9 epochs, reduction factor 3: 649 (72 %); grace 3: 154 (100 %)

- TPE needs 2.3 [1.9, 2.8] times fewer epochs than random, and GP 2.7 [2.2, 3.2]. The two do not differ significantly,
  and a suggestion of GP takes many times the computing.
- ASHA from the first epoch finds good configs early (within 5 %: 101 epochs, TPE alone 139) and loses the best ones.
  They start slowly, and rank 39th to 66th of 216 after one epoch. With a factor of 2, 32 % reach the target.
- With a third of the full length as grace period, ASHA loses none, and TPE needs 3.1 [2.5, 3.8] times fewer epochs than
  random. A factor of 2 gives the same (163). ASHA adds nothing to GP (182).
- Report stopped trials to the sampler with their last value, as Ray Tune does. If they are reported as pruned, GP
  ignores them, suggests them again and gives up in 56 % of the searches.

TPE with that ASHA learns from an earlier study (`recorded/earlier_studies.py`), whose cells cost nothing: they exist.
No earlier study holds a config within 1 % of the best:

    nothing known 154 [135, 175]
    24 configs, all levels of two factors: 93 [80, 106]
    13 configs, one factor at a time around a random reference: 137 [111, 168]
    10 trials of a search that did not reach the target: 148 [121, 184]

- The ablation of two factors has every level of `train.lr`, which explains 65 % of the grid's variance. After it, a
  search needs 1.65 [1.36, 2.01] times fewer epochs, and fewer than 121, a quarter of random.
- The other two gain nothing that 50 searches show: 1.13 [0.90, 1.41] and 1.04 [0.84, 1.30]. They replace the ten random
  trials that TPE starts with, and no more.

Recommendation: TPE with Optuna's settings, and ASHA with a grace period of a third of the full length and a reduction
factor of 3.
"""

import multiprocessing
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from recorded import earlier_studies, replay, retrieval_grid
from rich.console import Console
from rich.table import Table
from scipy import stats
from script import make_parser, print_figures

from raysearch.core import count_cpus

UNITS = ("trials", "epochs")


SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
}


@dataclass(frozen=True)
class Method:
    """A sampler, the grace period and reduction factor of ASHA, if any, and the earlier study that it learns from."""

    sampler: str
    asha: tuple[int, int] | None = None
    stopped_as: Literal["complete", "pruned"] = "complete"
    learned: str | None = None  # name in `EARLIER_STUDIES`

    @property
    def name(self) -> str:
        """The method's name in the results, which leaves out a grace period of 1 and a factor of 3."""
        words = [self.sampler]
        if self.asha:
            words.append("asha")
            words += [f"grace{self.asha[0]}"] * (self.asha[0] != 1) + [f"factor{self.asha[1]}"] * (self.asha[1] != 3)
        if self.stopped_as == "pruned":
            words.append("pruned")
        if self.learned:
            words.append(f"after_{self.learned}")
        return "_".join(words)

    def scheduler(self, iterations: int) -> TrialScheduler:
        """Build a new scheduler for trials of this length."""
        if self.asha is None:
            return FIFOScheduler()
        return AsyncHyperBandScheduler(
            time_attr=replay.TIME,
            metric=replay.METRIC,
            mode="max",
            max_t=iterations,
            grace_period=self.asha[0],
            reduction_factor=self.asha[1],
        )


@dataclass(frozen=True)
class Setting:
    """The distance to the best that a search has to reach, and the number of trials at a time."""

    within: float
    workers: int
    methods: tuple[Method, ...]

    @property
    def name(self) -> str:
        """The setting's name in the results."""
        return f"within {self.within:.0%}, {self.workers} worker{'s' if self.workers > 1 else ''}"


METHODS = (
    Method("random"),
    Method("tpe"),
    Method("gp"),
    Method("random", (1, 3)),
    Method("tpe", (1, 3)),
    Method("tpe", (1, 2)),
    Method("tpe", (2, 2)),
    Method("tpe", (2, 3)),
    Method("tpe", (3, 2)),
    Method("tpe", (3, 3)),
    Method("random", (3, 3)),
    Method("gp", (3, 3)),
    Method("gp", (3, 3), "pruned"),
    *(Method("tpe", asha, learned=study) for study in earlier_studies.EARLIER_STUDIES for asha in ((3, 3), None)),
)
FEWER = tuple(
    method
    for method in METHODS
    if method.asha in (None, (1, 3), (3, 3)) and method.stopped_as == "complete" and not method.learned
)
# The ratios at the head of the JSON line belong to the first.
SETTINGS = (Setting(0.01, 4, METHODS), Setting(0.01, 1, FEWER), Setting(0.05, 4, FEWER))


def run_search(setting: Setting, method: Method, seed: int) -> replay.Outcome:
    """Run one search with this seed of the sampler."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    grid = replay.read_grid(retrieval_grid.PATH, seed=0)
    target = (1 - setting.within) * grid.best
    sampler = SAMPLERS[method.sampler](seed)
    scheduler = method.scheduler(grid.iterations)
    learn = earlier_studies.EARLIER_STUDIES.get(method.learned or "")
    known = learn(grid, target, seed) if learn else {}
    return replay.search(grid, sampler, scheduler, target, setting.workers, method.stopped_as, known)


def charge_searches(outcomes: list[replay.Outcome], grid: replay.Grid, unit: str) -> np.ndarray:
    """Return the cost of each search (searches,) in a unit of `UNITS`.

    A search that missed the target is charged the whole grid, which is the cost of finding it for certain.
    """
    whole = {"trials": grid.configs, "epochs": grid.configs * grid.iterations}[unit]
    return np.array([getattr(outcome, unit) if outcome.reached else whole for outcome in outcomes], dtype=float)


def interval(values: tuple[np.ndarray, ...], statistic: Callable[..., Any]) -> list[float]:
    """Return a statistic over searches with its 95 % bootstrap interval: [value, low, high].

    Args:
        values: arrays (searches,), resampled together.
        statistic: a function of these arrays and an axis.
    """
    value = float(statistic(*values, axis=0))
    if all(np.ptp(costs) == 0 for costs in values):
        return [value, value, value]
    # The percentile method, because BCa fails for the median of whole numbers.
    bootstrap = stats.bootstrap(values, statistic, paired=True, method="percentile", rng=np.random.default_rng(0))
    return [value, float(bootstrap.confidence_interval.low), float(bootstrap.confidence_interval.high)]


def ratio_of_means(above: np.ndarray, below: np.ndarray, axis: int = 0) -> Any:
    """Return the ratio of two means along an axis."""
    return above.mean(axis=axis) / below.mean(axis=axis)


def method_figures(outcomes: list[replay.Outcome], grid: replay.Grid) -> dict[str, Any]:
    """Return the figures of one method, with medians and means as [value, low, high]."""
    results: dict[str, Any] = {
        "searches": len(outcomes),
        "reached": sum(outcome.reached for outcome in outcomes) / len(outcomes),
    }
    for unit in UNITS:
        costs = (charge_searches(outcomes, grid, unit),)
        results |= {f"{unit}_median": interval(costs, np.median), f"{unit}_mean": interval(costs, np.mean)}
    return results | {"suggestions_mean": float(np.mean([outcome.suggestions for outcome in outcomes]))}


def cost_ratios(outcomes: dict[str, list[replay.Outcome]], grid: replay.Grid) -> dict[str, list[float]]:
    """Return the mean cost of random search and of TPE over that of each other method, as [value, low, high]."""
    costs = {
        (name, unit): charge_searches(searches, grid, unit) for name, searches in outcomes.items() for unit in UNITS
    }
    return {
        f"{unit}_ratio_{above}_over_{name}": interval((costs[above, unit], costs[name, unit]), ratio_of_means)
        for above in ("random", "tpe")
        for name in outcomes
        for unit in UNITS
        if name not in ("random", above)
    }


def print_table(title: str, rows: dict[str, Any]) -> None:
    """Print the figures of one setting, a row per method."""
    table = Table(title=title)
    console = Console()
    console.width = max(console.width, 120)  # otherwise names are cut off where there is no terminal
    for column in ("search", "reached", *(f"{unit} {kind}" for unit in UNITS for kind in ("median", "mean"))):
        table.add_column(column, justify="left" if column == "search" else "right", no_wrap=True)
    for name, row in rows.items():
        if name == "ratios":
            continue
        spreads = [row[f"{unit}_{kind}"] for unit in UNITS for kind in ("median", "mean")]
        table.add_row(name, f"{row['reached']:.0%}", *("{:.0f} [{:.0f}, {:.0f}]".format(*spread) for spread in spreads))
    console.print(table)


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="5 searches per method instead of 50")
    searches = 5 if parser.parse_args().quick else 50
    grid = replay.read_grid(retrieval_grid.PATH, seed=0)
    runs = [(setting, method, seed) for setting in SETTINGS for method in setting.methods for seed in range(searches)]
    os.environ["OMP_NUM_THREADS"] = "1"  # per process, because there is one process per core
    with ProcessPoolExecutor(count_cpus(), mp_context=multiprocessing.get_context("spawn")) as pool:
        outcomes = dict(zip(runs, pool.map(run_search, *zip(*runs, strict=True)), strict=True))
    results: dict[str, Any] = {}
    for setting in SETTINGS:
        by_method = {
            method.name: [outcomes[setting, method, seed] for seed in range(searches)] for method in setting.methods
        }
        results[setting.name] = {"ratios": cost_ratios(by_method, grid)} | {
            name: method_figures(method_outcomes, grid) for name, method_outcomes in by_method.items()
        }
        print_table(
            f"cost of ending {setting.name}; the grid: {grid.configs} trials, {grid.metric.size} epochs",
            results[setting.name],
        )
    head = {name: value for name, (value, _, _) in results[SETTINGS[0].name]["ratios"].items()}
    print_figures({**head, "figures": results})


if __name__ == "__main__":
    main()
