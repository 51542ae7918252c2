"""Plan before paying: the effect that a number of seeds finds, and the seeds that an effect needs.

The power of a paired t-test is a tail of the noncentral t distribution. It has n - 1 degrees of freedom and the
noncentrality sqrt(n) * effect / spread.
Source: Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2.

Only a verdict in the effect's own direction counts. Several comparisons share the level by Bonferroni's inequality:
Holm's correction finds a little more.
"""

import math
from collections.abc import Mapping

import pyarrow as pa
from scipy import special

from raysearch.core import UserError
from raysearch.studies.analysis import comparisons as paired
from raysearch.studies.analysis.t_tests import FEWEST, LEVEL

MOST_SEEDS = 10_000  # of a study


def power_of(effect: float, spread: float, seeds: int, comparisons: int = 1) -> float:
    """Return the probability that an effect is found, in its own direction.

    Args:
        effect: a difference from the reference, in units of the metric.
        spread: standard deviation of paired differences, in the same units.
        seeds: number of seeds.
        comparisons: number of comparisons of the study.

    Raises:
        UserError: a spread that is not above zero, or fewer than three seeds.

    >>> round(power_of(0.421637, 1.0, 50), 4)  # the manual of G*Power 3.1, chapter on matched pairs
    0.8321
    """
    _check(spread, comparisons)
    if seeds < FEWEST:
        raise UserError(f"{seeds} seeds find nothing: an interval needs {FEWEST}")
    noncentrality = math.sqrt(seeds) * abs(effect) / spread
    return float(1 - special.nctdtr(seeds - 1, noncentrality, _critical(seeds, comparisons)))


def smallest_effect(spread: float, seeds: int, power: float = 0.8, comparisons: int = 1) -> float:
    """Return the smallest effect that a number of seeds finds with a power.

    Args:
        spread: see `power_of`.
        seeds: see `power_of`.
        power: between 0.05 and 1.
        comparisons: see `power_of`.

    Raises:
        UserError: see `power_of`; or a power out of its range.

    >>> round(smallest_effect(0.005, 5), 4), round(smallest_effect(0.005, 20), 4)
    (0.0084, 0.0033)
    """
    _check(spread, comparisons, power)
    low = 0.0
    high = spread
    while power_of(high, spread, seeds, comparisons) < power:
        low = high
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        if power_of(middle, spread, seeds, comparisons) < power:
            low = middle
        else:
            high = middle
    return high


def seeds_for(effect: float, spread: float, power: float = 0.8, comparisons: int = 1) -> int | None:
    """Return the smallest number of seeds that finds an effect with a power; None if it is above `MOST_SEEDS`.

    Args:
        effect: see `power_of`.
        spread: see `power_of`.
        power: between 0.05 and 1.
        comparisons: see `power_of`.

    Raises:
        UserError: an effect of zero, a spread that is not above zero, or a power out of its range.

    >>> seeds_for(0.004, 0.005), seeds_for(0.008, 0.005)
    (15, 6)
    """
    _check(spread, comparisons, power)
    if not (math.isfinite(effect) and effect):
        raise UserError(f"an effect is a difference of the metric that is not 0, not {effect}")
    if power_of(effect, spread, MOST_SEEDS, comparisons) < power:
        return None
    low = FEWEST - 1
    high = MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        if power_of(effect, spread, middle, comparisons) < power:
            low = middle
        else:
            high = middle
    return high


def paired_spread(table: pa.Table, metric: str, reference: str | Mapping[str, str]) -> float | None:
    """Return the standard deviation of paired differences, pooled over the comparisons.

    The variance that rounding of the metric adds is included, as in the tests.

    Args:
        table: results so far, one row per cell; see `statistics.compare`.
        metric: the column to compare.
        reference: see `statistics.compare`.

    Returns:
        The pooled standard deviation; None without a comparison with two common seeds, and where all differences are
        equal.

    Raises:
        UserError: see `statistics.compare`.
    """
    rows, references = paired.read_running(table, metric, reference)
    squares = 0.0
    freedom = 0
    for pair in paired.pair_cells(rows, metric, references):
        differences = list(pair.differences.values())
        if pair.is_reference or len(differences) < 2:
            continue
        mean = math.fsum(differences) / len(differences)
        degrees = len(differences) - 1
        variance = math.fsum((difference - mean) ** 2 for difference in differences) / degrees
        squares += degrees * (variance + pair.rounding)
        freedom += degrees
    return math.sqrt(squares / freedom) if squares > 0 else None


def _critical(seeds: int, comparisons: int) -> float:
    return float(special.stdtrit(seeds - 1, 1 - (1 - LEVEL) / comparisons / 2))


def _check(spread: float, comparisons: int, power: float = 0.8) -> None:
    if not (math.isfinite(spread) and spread > 0):
        raise UserError(f"a spread is above 0, not {spread}; it is the standard deviation of paired differences")
    if comparisons < 1:
        raise UserError(f"a study has at least 1 comparison, not {comparisons}")
    if not 1 - LEVEL <= power < 1:
        raise UserError(f"a power is between 0.05 and 1, such as 0.8, not {power}")
