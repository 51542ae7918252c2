"""Student-t tests of a mean over seeds, and Holm's correction of several p-values.

Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979. Where all
values are equal their spread is not known: there is no interval, because the next seed may differ.
"""

import functools
import math
from collections.abc import Sequence

from scipy import special

LEVEL = 0.95
FEWEST = 3  # seeds of an interval: with two, its quantile is 12.7 and a single odd seed decides everything
_SAME = 1e-6  # relative to the values: a smaller spread is the rounding of single precision


def refusal(seeds: int) -> str | None:
    """Return the reason why a number of seeds gives no interval and no verdict; None if there are enough.

    >>> refusal(2), refusal(3)
    ('2 seeds: an interval needs three', None)
    """
    return None if seeds >= FEWEST else f"{seeds} seed{'' if seeds == 1 else 's'}: an interval needs three"


def no_spread(differences: Sequence[float]) -> str:
    """Return the reason why equal differences give no interval and no verdict.

    >>> no_spread([0.1, 0.1, 0.1])
    'the same difference with all 3 seeds: its spread is not known'
    """
    if any(differences):
        return f"the same difference with all {len(differences)} seeds: its spread is not known"
    return f"the same value as the reference with all {len(differences)} seeds"


def has_spread(values: Sequence[float], scale: float | None = None) -> bool:
    """Return whether values differ by more than rounding.

    Args:
        values: metrics, or differences of metrics.
        scale: the largest metric; None: the largest value.

    >>> has_spread([0.1, 0.1, 0.1 + 1e-9]), has_spread([0.1, 0.1, 0.101])
    (False, True)
    """
    largest = max(map(abs, values), default=0.0) if scale is None else scale
    return bool(values) and max(values) - min(values) > _SAME * largest


def interval(values: Sequence[float], rounding: float = 0.0, level: float = LEVEL) -> tuple[float | None, float | None]:
    """Return the Student-t interval of the mean; (None, None) for fewer than three values, or equal ones.

    Args:
        values: one per seed.
        rounding: variance that rounding adds to each value.
        level: of the interval.

    >>> [round(bound, 3) for bound in interval([1.0, 2.0, 3.0])]
    [-0.484, 4.484]
    """
    if len(values) < FEWEST or not has_spread(values):
        return None, None
    mean = math.fsum(values) / len(values)
    half_width = _quantile(len(values) - 1, level) * _standard_error(values, rounding)
    return mean - half_width, mean + half_width


def holm(p_values: Sequence[float | None], family: int | None = None) -> list[float | None]:
    """Return Holm's step-down adjusted p-values; None stays None and is not a member of the family.

    Args:
        p_values: of the comparisons.
        family: number of comparisons to correct over, if more were planned than have a p-value.

    >>> holm([0.01, None, 0.04, 0.03]), holm([0.01], family=7)
    ([0.03, None, 0.06, 0.06], [0.07])
    """
    adjusted = list(p_values)
    members = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    size = max(len(members), family or 0)
    running = 0.0
    for step, (p, index) in enumerate(members):
        running = max(running, min(1.0, (size - step) * p))
        adjusted[index] = running
    return adjusted


def p_value(differences: Sequence[float], rounding: float) -> float:
    """Return the p-value of the two-sided t-test of paired differences against zero.

    Args:
        differences: at least `FEWEST`, with a spread.
        rounding: variance that rounding adds to each.
    """
    mean = math.fsum(differences) / len(differences)
    statistic = abs(mean) / _standard_error(differences, rounding)
    return float(2 * special.stdtr(len(differences) - 1, -statistic))


@functools.cache
def _quantile(degrees_of_freedom: int, level: float) -> float:
    """Return the quantile of a two-sided interval. It is cached: scipy is slow, and most variants share it."""
    return float(special.stdtrit(degrees_of_freedom, (1 + level) / 2))


def _standard_error(values: Sequence[float], rounding: float = 0.0) -> float:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt((variance + rounding) / len(values))
