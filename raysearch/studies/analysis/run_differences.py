"""Differences between variants of two runs: paired by seed where enough seeds are common, else Welch's interval.

Welch, "The Generalization of 'Student's' Problem when Several Different Population Variances are Involved", Biometrika
1947, with the degrees of freedom of his eq. 28. Two runs need not have met the same seeds. Where they did, a seed is a
block as it is within a run; where they did not, their cells are two samples with a spread each. With one or two
seeds in common Welch's interval is the careful choice: a seed does alike to both runs, which only narrows the truth.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
from scipy import special

from raysearch.studies.analysis import statistics


@dataclass(frozen=True)
class Difference:
    """What a variant's metric is more than another's, and by which test. Numbers are None where there are none."""

    test: Literal["paired", "Welch", "none"]
    seeds: tuple[int, int]  # that the test went by: of the one and of the other; paired, the same number twice
    delta: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None = None

    @property
    def decided(self) -> bool:
        return self.p_holm is not None and self.p_holm <= 1 - statistics.LEVEL


Values = Mapping[int, float]  # metric by seed


def differences(pairs: Sequence[tuple[Values, Values]]) -> list[Difference]:
    """Each pair's difference, the first less the second; p-values corrected by Holm over all that have one.

    >>> a, b = {0: 0.5, 1: 0.7, 2: 0.6}, {0: 0.51, 1: 0.72, 2: 0.63}
    >>> [round(one, 3) for one in (differences([(b, a)])[0].delta, differences([(b, a)])[0].p)]
    [0.02, 0.074]
    """
    found = [_difference(own, other) for own, other in pairs]
    corrected = statistics.holm([one.p for one in found])
    return [replace(one, p_holm=p_holm) for one, p_holm in zip(found, corrected, strict=True)]


def _difference(own: Values, other: Values) -> Difference:
    common = sorted(own.keys() & other.keys())
    if len(common) >= statistics.FEWEST:
        return _paired(own, other, common)
    if min(len(own), len(other)) >= statistics.FEWEST:
        return _welch(list(own.values()), list(other.values()))
    delta = math.fsum(own.values()) / len(own) - math.fsum(other.values()) / len(other) if own and other else None
    return Difference("none", (len(own), len(other)), delta, None, None, None)


def _paired(own: Values, other: Values, seeds: Sequence[int]) -> Difference:
    """By `statistics.compare`, so that runs are compared as variants of a run are."""
    rows = [
        {"variant": name, "seed": seed, "status": "finished", "metric": values[seed]}
        for name, values in (("other", other), ("own", own))
        for seed in seeds
    ]
    row = statistics.compare(pa.Table.from_pylist(rows), "metric", "other").to_pylist()[1]
    return Difference("paired", (len(seeds),) * 2, row["delta"], row["delta_low"], row["delta_high"], row["p"])


def _welch(own: list[float], other: list[float]) -> Difference:
    means, squares = zip(*(_mean_and_squared_error(values) for values in (own, other)), strict=True)
    counts, delta, error = (len(own), len(other)), means[0] - means[1], math.sqrt(sum(squares))
    if error == 0:  # the same number with every seed, twice: no spread to doubt the difference by
        return Difference("Welch", counts, delta, delta, delta, 1.0 if delta == 0 else 0.0)
    freedom = sum(squares) ** 2 / sum(square**2 / (n - 1) for square, n in zip(squares, counts, strict=True))
    half = float(special.stdtrit(freedom, (1 + statistics.LEVEL) / 2)) * error
    p = float(2 * special.stdtr(freedom, -abs(delta / error)))
    return Difference("Welch", counts, delta, delta - half, delta + half, p)


def _mean_and_squared_error(values: list[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)
