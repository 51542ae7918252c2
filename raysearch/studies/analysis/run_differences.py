"""Differences between variants of two runs: paired by seed where enough seeds are common, else by Welch's interval.

Welch, "The Generalization of 'Student's' Problem when Several Different Population Variances are Involved", Biometrika
1947, with the degrees of freedom of his eq. 28. Two runs need not have the same seeds. Common seeds are blocks, as they
are within a run. Without them, the cells of the two runs are two samples, each with a spread of its own. With one or
two common seeds Welch's interval is the careful choice: a seed affects both runs alike, which only narrows the true
interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
from scipy import special

from raysearch.studies.analysis import statistics

Values = Mapping[int, float]  # metric by seed


@dataclass(frozen=True)
class Difference:
    """The metric of a variant minus that of another, and the test. Numbers are None where they cannot be computed."""

    test: Literal["paired", "Welch", "none"]
    seeds: tuple[int, int]  # used by the test, of both variants; for a paired test the same number twice
    delta: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None = None

    @property
    def decided(self) -> bool:
        """Whether the difference is significant at the 5 % level."""
        return self.p_holm is not None and self.p_holm <= 1 - statistics.LEVEL


def differences(pairs: Sequence[tuple[Values, Values]]) -> list[Difference]:
    """Return each pair's difference, first minus second. P-values are corrected by Holm over all that have one.

    >>> a, b = {0: 0.5, 1: 0.7, 2: 0.6}, {0: 0.51, 1: 0.72, 2: 0.63}
    >>> (difference,) = differences([(b, a)])
    >>> round(difference.delta, 3), round(difference.p, 3)
    (0.02, 0.074)
    """
    uncorrected = [_difference(first, second) for first, second in pairs]
    corrected = statistics.holm([difference.p for difference in uncorrected])
    return [replace(difference, p_holm=p) for difference, p in zip(uncorrected, corrected, strict=True)]


def _difference(first: Values, second: Values) -> Difference:
    common = sorted(first.keys() & second.keys())
    if len(common) >= statistics.FEWEST:
        return _paired(first, second, common)
    if min(len(first), len(second)) >= statistics.FEWEST:
        return _welch(list(first.values()), list(second.values()))
    delta = None
    if first and second:
        delta = math.fsum(first.values()) / len(first) - math.fsum(second.values()) / len(second)
    return Difference("none", (len(first), len(second)), delta, None, None, None)


def _paired(first: Values, second: Values, seeds: Sequence[int]) -> Difference:
    """Compare by `statistics.compare`, so that runs are compared as the variants of a run are."""
    rows = [
        {"variant": name, "seed": seed, "status": "finished", "metric": values[seed]}
        for name, values in (("second", second), ("first", first))
        for seed in seeds
    ]
    row = statistics.compare(pa.Table.from_pylist(rows), "metric", "second").to_pylist()[1]
    return Difference("paired", (len(seeds),) * 2, row["delta"], row["delta_low"], row["delta_high"], row["p"])


def _welch(first: list[float], second: list[float]) -> Difference:
    means, squares = zip(*(_mean_and_squared_error(values) for values in (first, second)), strict=True)
    counts = (len(first), len(second))
    delta = means[0] - means[1]
    error = math.sqrt(sum(squares))
    if error == 0:  # every seed gave the same number, in both runs: there is no spread
        return Difference("Welch", counts, delta, delta, delta, 1.0 if delta == 0 else 0.0)
    freedom = sum(squares) ** 2 / sum(square**2 / (n - 1) for square, n in zip(squares, counts, strict=True))
    half_width = float(special.stdtrit(freedom, (1 + statistics.LEVEL) / 2)) * error
    p = float(2 * special.stdtr(freedom, -abs(delta / error)))
    return Difference("Welch", counts, delta, delta - half_width, delta + half_width, p)


def _mean_and_squared_error(values: list[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)
