"""Differences between variants of two runs: paired by seed where enough seeds are common, else by Welch's interval.

Welch, "The Generalization of 'Student's' Problem when Several Different Population Variances are Involved", Biometrika
1947, with the degrees of freedom of his eq. 28. Two runs need not have the same seeds. Common seeds are blocks, as they
are within a run. Without them, the cells of the two runs are two samples, each with a spread of its own. With one or
two common seeds Welch's interval is the careful choice: a seed affects both runs alike, which only narrows the true
interval.

Departure: a verdict counts min(n1, n2) - 1 degrees of freedom (Mickey and Brown, "Bounds on the Distribution Functions
of the Behrens-Fisher Statistic", Annals of Mathematical Statistics 1966). Holm's correction asks for tiny p-values, and
Welch's are too small there: without any effect, 3 seeds against 20 of 40 variants decided something in a third of all
comparisons. The step of the metric widens both, see `resolution`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
from scipy import special

from raysearch.studies.analysis import resolution, statistics, t_tests

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
    p_holm: float | None = None  # for the verdict
    refused: str | None = None  # why there is no interval

    @property
    def decided(self) -> bool:
        """Whether the difference is significant at the 5 % level."""
        return self.p_holm is not None and self.p_holm <= 1 - t_tests.LEVEL


def differences(pairs: Sequence[tuple[Values, Values]], steps: Sequence[float] | None = None) -> list[Difference]:
    """Return each pair's difference, first minus second. P-values are corrected by Holm over all that have one.

    Args:
        pairs: metrics by seed.
        steps: the metric's step for each pair, see `statistics.metric_step`; None: no steps.

    >>> a, b = {0: 0.5, 1: 0.7, 2: 0.6}, {0: 0.51, 1: 0.72, 2: 0.63}
    >>> (difference,) = differences([(b, a)])
    >>> round(difference.delta, 3), round(difference.p, 3)
    (0.02, 0.074)
    """
    tested = [_difference(*pair, step) for pair, step in zip(pairs, steps or [0.0] * len(pairs), strict=True)]
    corrected = t_tests.holm([careful_p for _, careful_p in tested])
    return [replace(difference, p_holm=p) for (difference, _), p in zip(tested, corrected, strict=True)]


def _difference(first: Values, second: Values, step: float) -> tuple[Difference, float | None]:
    """Return a difference, and the p-value of its verdict before the correction."""
    common = sorted(first.keys() & second.keys())
    if len(common) >= t_tests.FEWEST:
        paired = _paired(first, second, common, step)
        return paired, paired.p
    if min(len(first), len(second)) >= t_tests.FEWEST:
        return _welch(list(first.values()), list(second.values()), step)
    delta = None
    if first and second:
        delta = math.fsum(first.values()) / len(first) - math.fsum(second.values()) / len(second)
    refused = f"{len(first)} and {len(second)} seeds: an interval needs three"
    return Difference("none", (len(first), len(second)), delta, None, None, None, refused=refused), None


def _paired(first: Values, second: Values, seeds: Sequence[int], step: float) -> Difference:
    """Compare by `statistics.compare`, so that runs are compared as the variants of a run are."""
    steps = json.dumps({"metric": step})
    rows = [
        {"variant": name, "seed": seed, "status": "finished", "metric": values[seed], resolution.COLUMN: steps}
        for name, values in (("second", second), ("first", first))
        for seed in seeds
    ]
    row = statistics.compare(pa.Table.from_pylist(rows), "metric", "second").to_pylist()[1]
    bounds = (row["delta_low"], row["delta_high"])
    return Difference("paired", (len(seeds),) * 2, row["delta"], *bounds, row["p"], refused=row["refused"])


def _welch(first: list[float], second: list[float], step: float) -> tuple[Difference, float]:
    means, squares = zip(*(_mean_and_squared_error(values, step) for values in (first, second)), strict=True)
    counts = (len(first), len(second))
    delta = means[0] - means[1]
    for values in (first, second):
        if not t_tests.has_spread(values):
            reason = f"the same value with all {len(values)} seeds of a run: its spread is not known"
            return Difference("Welch", counts, delta, None, None, 1.0, refused=reason), 1.0
    error = math.sqrt(sum(squares))
    freedom = sum(squares) ** 2 / sum(square**2 / (n - 1) for square, n in zip(squares, counts, strict=True))
    half_width = float(special.stdtrit(freedom, (1 + t_tests.LEVEL) / 2)) * error
    p, careful_p = (float(2 * special.stdtr(count, -abs(delta / error))) for count in (freedom, min(counts) - 1))
    return Difference("Welch", counts, delta, delta - half_width, delta + half_width, p), careful_p


def _mean_and_squared_error(values: list[float], step: float) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, (variance + step**2 / 12) / len(values)
