"""Measure what bounds a search of the recorded grid: where its epochs go, and what a search that knows more needs.

    python benchmarks/search_bounds.py [--quick]

The search is the default: TPE with ASHA, which leaves each trial a third of its length, 4 trials at a time. It ends
when a trial of full length is within 1 % of the best of `recorded/retrieval_grid.parquet`.

Measured with Ray 2.60 and Optuna 5.0, means over 50 searches with 95 % bootstrap intervals. The 154 [135, 175] epochs:

    random start: TPE waits for ten ended trials     65 [61, 69]
    later trials that ASHA stopped                   23 [17, 29]
    later trials of full length that missed          50 [37, 63]
    the trial that reached the target                 9
    in flight at that moment                          8 [6, 9]

A search that knows part of the grid without noise, and tries configs in that order:

    single effects (74 % of the variance)    258, without stopping 180
    effects of pairs (91 %)                   97, without stopping  34
    effects of triples (99 %)                 32, without stopping  33

- The marginal effect of every factor is worth less than the search itself: the three configs within 1 % are 19th, 20th
  and 42nd by it. An ablation of one factor at a time measures single effects alone, around its reference.
- The floor is 31 to 34 epochs: nine for the best config as the first trial, and three others meanwhile. As 10th trial
  it costs 101 [99, 102], as 20th 189, if nothing is stopped.
- A quarter of random, 121, leaves 39 epochs after the random start and the last trial with its neighbors. The search
  takes 73 there.
- ASHA costs an informed search more than it saves: after a third of the length the three configs rank 10th to 52nd.
- Within 1 % is 0.004 of mAP. The noise of a training seed is 0.023: 15 configs are within two of it from the best, and
  532 pairs of seeds would tell two configs 1 % apart (5 % level, 80 % power). So the target is three of 15 tickets.
"""

import itertools
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pyarrow.compute as pc
import pyarrow.parquet as pq
import search_efficiency
from recorded import replay, retrieval_grid
from script import make_parser, print_figures

from raysearch.core import count_cpus

WORKERS = 4
WITHIN = 0.01
STARTUP = 10  # ended trials that TPE waits for; it suggests at random until then
DEFAULT = search_efficiency.Method("tpe", (3, 3))
PARTS = ("random start", "stopped", "full length, missed", "full length, reached", "in flight")
POSITIONS = (1, 5, 10, 20, 30)


class OrderSampler(optuna.samplers.BaseSampler):
    """Suggest configs in a fixed order, then the last one for ever.

    Args:
        names: of the factors.
        configs: in the order in which they are suggested.
    """

    def __init__(self, names: Sequence[str], configs: Sequence[replay.Config]) -> None:
        self._factors = list(names)
        self._configs = list(configs)

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """Return no parameters, since each is suggested on its own."""
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Return no parameters."""
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> int:
        """Return the level of one factor in the config of this trial."""
        config = self._configs[min(trial.number, len(self._configs) - 1)]
        return config[self._factors.index(param_name)]


@dataclass(frozen=True)
class Oracle:
    """A search that knows something of the grid, and tries configs in the order of what it knows.

    Args:
        name: of what it knows.
        order: effects of up to so many factors are known, without noise; 4 gives the recorded values themselves.
        grace: iterations before ASHA may stop a trial; None: it stops none.
    """

    name: str
    order: int
    grace: int | None = 3


ORACLES = tuple(
    Oracle(f"{name}, {'ASHA' if grace else 'no stopping'}", order, grace)
    for order, name in enumerate(("single effects", "effects of pairs", "effects of triples", "every value"), start=1)
    for grace in (3, None)
)


def effects_up_to(values: np.ndarray, order: int) -> np.ndarray:
    """Return the part of a full grid that effects of up to `order` factors explain, in the same shape.

    The grid is balanced, so the effects of a subset of factors are means over the others, less the smaller effects.
    """
    effects: dict[tuple[int, ...], np.ndarray] = {}
    for size in range(order + 1):
        for subset in itertools.combinations(range(values.ndim), size):
            others = tuple(axis for axis in range(values.ndim) if axis not in subset)
            mean = values.mean(axis=others, keepdims=True) if others else values.copy()
            effects[subset] = mean - sum(effect for inner, effect in effects.items() if set(inner) < set(subset))
    return np.broadcast_to(sum(effects.values()), values.shape)


def configs_by(scores: np.ndarray) -> list[replay.Config]:
    """Return the configs of a grid by falling score."""
    order = np.argsort(-scores, axis=None, kind="stable")
    return [tuple(int(level) for level in np.unravel_index(index, scores.shape)) for index in order]


def split_epochs(outcome: replay.Outcome, iterations: int, target: replay.Config | None) -> dict[str, int]:
    """Return where the epochs of a search went: a number for each of `PARTS`, which add up to its epochs.

    Args:
        outcome: of a search.
        iterations: of a trial of full length.
        target: the config that reached the target; None if none did.
    """
    parts = dict.fromkeys(PARTS, 0)
    for trial in outcome.started:
        if trial.config == target:
            part = "full length, reached"
        elif trial.told < STARTUP:
            part = "random start"
        elif trial.config not in outcome.ended:
            part = "in flight"
        else:
            part = "full length, missed" if trial.iterations == iterations else "stopped"
        parts[part] += trial.iterations
    return parts


def run_default(seed: int) -> tuple[replay.Outcome, dict[str, int]]:
    """Run the default search with this seed; return its outcome and where its epochs went."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grid = replay.read_grid(retrieval_grid.PATH, seed=0)
    target = (1 - WITHIN) * grid.best
    outcome = search_efficiency.run_search(search_efficiency.Setting(WITHIN, WORKERS, ()), DEFAULT, seed)
    whole = [trial for trial in outcome.started if trial.iterations == grid.iterations]
    reached = [trial.config for trial in whole if grid.metric[trial.config][-1] >= target]
    return outcome, split_epochs(outcome, grid.iterations, reached[0] if reached else None)


def run_order(grid: replay.Grid, configs: Sequence[replay.Config], grace: int | None) -> replay.Outcome:
    """Run a search that tries configs in this order."""
    method = search_efficiency.Method("order", (grace, 3) if grace else None)
    sampler = OrderSampler(list(grid.levels), configs)
    return replay.search(grid, sampler, method.scheduler(grid.iterations), (1 - WITHIN) * grid.best, WORKERS)


def run_position(position: int, seed: int) -> replay.Outcome:
    """Run a search that tries the best config as this trial, after others that miss, in an order drawn by the seed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grid = replay.read_grid(retrieval_grid.PATH, seed=0)
    best, *others = configs_by(grid.metric[..., -1])
    missed = [config for config in others if grid.metric[config][-1] < (1 - WITHIN) * grid.best]
    drawn = [missed[index] for index in np.random.default_rng(seed).permutation(len(missed))]
    return run_order(grid, [*drawn[: position - 1], best, *drawn[position - 1 :]], grace=None)


def noise_figures(grid: replay.Grid) -> dict[str, float]:
    """Return how far training noise hides the target, from the configs that were recorded with two seeds."""
    table = pq.read_table(retrieval_grid.PATH)
    rows = table.filter(pc.equal(table["iteration"], grid.iterations)).to_pylist()
    by_seed: list[dict[tuple[float, ...], float]] = [{}, {}]
    for row in rows:
        by_seed[row["seed"]][tuple(row[name] for name in grid.levels)] = row[replay.METRIC]
    differences = [value - by_seed[0][config] for config, value in by_seed[1].items()]
    values = grid.metric[..., -1]
    noise = float(np.std(differences, ddof=1) / np.sqrt(2))
    target = (1 - WITHIN) * grid.best
    third = grid.metric[..., grid.iterations // 3 - 1]
    ranks = [int((third > third[config]).sum()) + 1 for config in configs_by(values) if values[config] >= target]
    return {
        "noise_of_a_seed": noise,
        "distance_to_target": grid.best - target,
        "pairs_of_seeds_to_see_1_percent": 2 * (noise * (1.96 + 0.84) / (grid.best - target)) ** 2,
        "configs_within_1_percent": len(ranks),
        "configs_within_two_noises": int((values > grid.best - 2 * noise).sum()),
        "worst_rank_of_them_after_a_third": max(ranks),
        "best_rank_of_them_after_a_third": min(ranks),
    }


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="5 searches instead of 50")
    searches = 5 if parser.parse_args().quick else 50
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    os.environ["OMP_NUM_THREADS"] = "1"  # per process, because there is one process per core
    grid = replay.read_grid(retrieval_grid.PATH, seed=0)
    values = grid.metric[..., -1]
    with ProcessPoolExecutor(count_cpus(), mp_context=multiprocessing.get_context("spawn")) as pool:
        default = list(pool.map(run_default, range(searches)))
        at_position = {
            position: list(pool.map(run_position, [position] * searches, range(searches))) for position in POSITIONS
        }
    costs = search_efficiency.charge_searches([outcome for outcome, _ in default], grid, "epochs")
    parts = {
        part: search_efficiency.interval((np.array([split[part] for _, split in default], dtype=float),), np.mean)
        for part in PARTS
    }
    positions = {
        str(position): search_efficiency.interval(
            (search_efficiency.charge_searches(outcomes, grid, "epochs"),), np.mean
        )
        for position, outcomes in at_position.items()
    }
    oracles = {}
    for oracle in ORACLES:
        outcome = run_order(grid, configs_by(effects_up_to(values, oracle.order)), oracle.grace)
        oracles[oracle.name] = float(search_efficiency.charge_searches([outcome], grid, "epochs")[0])
    explained = {
        str(order): float(1 - (values - effects_up_to(values, order)).var() / values.var()) for order in (1, 2, 3)
    }
    whole = search_efficiency.interval((costs,), np.mean)
    figures = {
        "epochs": whole,
        "parts": parts,
        "best_config_as_trial": positions,
        "oracles": oracles,
        "variance_explained_by_effects_up_to": explained,
        "noise": noise_figures(grid),
    }
    print("default search: {:.0f} [{:.0f}, {:.0f}] epochs".format(*whole))
    for part, spread in parts.items():
        print("  {:22s} {:4.0f} [{:.0f}, {:.0f}]".format(part, *spread))
    for position, spread in positions.items():
        print("the best config as trial {:>2s}, nothing stopped: {:4.0f} [{:.0f}, {:.0f}]".format(position, *spread))
    for name, epochs in oracles.items():
        print(f"tries configs by {name}: {epochs:.0f}")
    for name, figure in {**figures["noise"], **{f"variance, effects of {k}": v for k, v in explained.items()}}.items():
        print(f"{name}: {figure:.4g}")
    print_figures(figures)


if __name__ == "__main__":
    main()
