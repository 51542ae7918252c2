"""What an earlier study on the recorded grid would have left behind: configs of full length, or stopped early.

None of them is close enough to the best of the grid to end a search, since that search would cost nothing: references
and searches are drawn until that holds.
"""

from collections.abc import Callable, Mapping

import numpy as np
import optuna
from ray.tune.schedulers import AsyncHyperBandScheduler
from recorded import replay

_TRIALS = 10  # of an earlier search

Known = Mapping[replay.Config, int]  # config -> iterations


def one_at_a_time(grid: replay.Grid, target: float, seed: int) -> Known:
    """Return an ablation: a reference drawn at random, and each other level of each factor."""
    return _draw(grid, target, seed, lambda config, reference: sum(map(int.__ne__, config, reference)) <= 1)


def two_factors(grid: replay.Grid, target: float, seed: int) -> Known:
    """Return an ablation over all levels of the first two factors; the others are drawn at random."""
    return _draw(grid, target, seed, lambda config, reference: config[2:] == reference[2:])


def earlier_search(grid: replay.Grid, target: float, seed: int) -> Known:
    """Return the trials of a short search by TPE and ASHA with another seed of the sampler."""
    number = 0
    while True:
        outcome = replay.search(
            grid,
            optuna.samplers.TPESampler(seed=1000 * (seed + 1) + number),
            AsyncHyperBandScheduler(
                time_attr=replay.TIME,
                metric=replay.METRIC,
                mode="max",
                max_t=grid.iterations,
                grace_period=3,
                reduction_factor=3,
            ),
            target,
            workers=4,
            trials=_TRIALS,
        )
        if not outcome.reached:
            return outcome.ended
        number += 1


def _draw(
    grid: replay.Grid, target: float, seed: int, belongs: Callable[[replay.Config, replay.Config], bool]
) -> Known:
    last = grid.metric[..., -1]
    rng = np.random.default_rng(seed)
    while True:
        reference = tuple(int(rng.integers(levels)) for levels in last.shape)
        known = {config: grid.iterations for config in np.ndindex(last.shape) if belongs(config, reference)}
        if all(last[config] < target for config in known):
            return known


EARLIER_STUDIES = {
    "one_at_a_time": one_at_a_time,
    "two_factors": two_factors,
    "earlier_search": earlier_search,
}
