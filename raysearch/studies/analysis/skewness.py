"""Skewed differences: a test that finds them, and the sign-flip test beside the paired t-test.

The t-test assumes that the mean of the differences is about normal. With few seeds and a long tail on one side it is
not. The test of skewness compares the sample skewness g1 = m3 / m2^(3/2) with that of normal samples of the same size.
They are drawn once. Such a Monte Carlo test has an exact error rate (Barnard, Journal of the Royal Statistical Society
B 1963, discussion of Bartlett). Holm's correction follows, so at most 5 % of studies with normal differences get any
warning.

The sign-flip test (Fisher, "The Design of Experiments", 1935, section 21) counts the flips of signs whose mean is as
large as the measured one. It is exact if variant and reference are exchangeable within a seed. It needs no normal
distribution. It is not a test of the mean where differences are skewed, although many expect one. A variant with the
same mean and another shape is not exchangeable, and may be told from the reference.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raysearch.studies.analysis.t_tests import FEWEST, LEVEL, has_spread, holm

FEWEST_SEEDS = 4  # of the test of skewness: with three, no skewness is rare enough for a warning
_SAMPLES = 20_000  # of the normal distribution
_MOST_EXACT = 20  # seeds up to which all flips are counted: half a million
_FLIPS = 100_000  # that are drawn with more seeds


@dataclass(frozen=True)
class Skewness:
    """How skewed the differences of a comparison are.

    Attributes:
        skewness: of the sample, g1; None with fewer than four seeds, or equal differences.
        p: of the test of skewness, corrected by Holm over the comparisons.
        sign_flip_p: of the sign-flip test, corrected by Holm over all planned comparisons; None where the number of
            seeds allows no verdict.
    """

    skewness: float | None
    p: float | None
    sign_flip_p: float | None

    @property
    def is_skewed(self) -> bool:
        """Whether the differences are significantly skewed at the 5 % level."""
        return self.p is not None and self.p <= 1 - LEVEL


def check(differences: Mapping[str, Sequence[float]], comparisons: int | None = None) -> dict[str, Skewness]:
    """Test the differences of each comparison for skewness, and compute the sign-flip test beside.

    Args:
        differences: variant -> paired differences from its reference, one per seed.
        comparisons: number of planned comparisons, if more than are given.
    """
    family = max(len(differences), comparisons or 0)
    samples = [list(values) for values in differences.values()]
    p_values = holm([skewness_p(values) for values in samples])
    flips = holm([sign_flip_p(values) if allows_verdict(len(values), family) else None for values in samples], family)
    return {
        name: Skewness(_skewness_or_none(values), p, flip)
        for name, values, p, flip in zip(differences, samples, p_values, flips, strict=True)
    }


def skewness_p(differences: Sequence[float]) -> float | None:
    """Return the p-value of the two-sided test of skewness, not corrected; None with fewer than four seeds.

    >>> skewness_p([0.1, 0.12, 0.09, 0.11, 0.1, 0.13, 0.9]) < 0.01, skewness_p([0.1, 0.2, 0.3])
    (True, None)
    """
    skewness = _skewness_or_none(differences)
    if skewness is None:
        return None
    normal = _normal_skewness(len(differences))
    as_large = len(normal) - int(np.searchsorted(normal, abs(skewness)))
    return (1 + as_large) / (1 + len(normal))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the p-value of the two-sided sign-flip test of the mean, not corrected.

    Up to 20 seeds all flips are counted. With more, 100,000 are drawn, always the same.

    >>> sign_flip_p([1.0, 2.0, 3.0]), sign_flip_p([1.0, -1.0, 3.0, 2.0])
    (0.25, 0.375)
    """
    measured = abs(math.fsum(differences))
    tolerance = 1e-12 * math.fsum(map(abs, differences))  # sums that differ by rounding alone are equal
    if len(differences) <= _MOST_EXACT:
        sums = np.array([differences[0]])  # each flip has a mirror image, so the first sign may stay
        for difference in differences[1:]:
            sums = np.concatenate([sums + difference, sums - difference])
        return float(np.mean(np.abs(sums) >= measured - tolerance))
    rng = np.random.default_rng(0)
    sums = np.zeros(_FLIPS)
    for difference in differences:
        sums += difference * (2 * rng.integers(0, 2, _FLIPS) - 1)
    return float((1 + np.count_nonzero(np.abs(sums) >= measured - tolerance)) / (1 + _FLIPS))


def allows_verdict(seeds: int, comparisons: int) -> bool:
    """Return whether the smallest p-value of the sign-flip test, 2^(1 - seeds), decides one of several comparisons.

    >>> allows_verdict(5, 1), allows_verdict(6, 1), allows_verdict(8, 7), allows_verdict(9, 7)
    (False, True, False, True)
    """
    return seeds >= FEWEST and comparisons * 2.0 ** (1 - seeds) <= 1 - LEVEL


def _skewness_or_none(differences: Sequence[float]) -> float | None:
    if len(differences) < FEWEST_SEEDS or not has_spread(differences):
        return None
    return float(_skewness(np.array(differences)))


def _skewness(samples: np.ndarray) -> np.ndarray:
    """Return the skewness of samples (..., seeds)."""
    centered = samples - samples.mean(axis=-1, keepdims=True)
    return (centered**3).mean(axis=-1) / (centered**2).mean(axis=-1) ** 1.5


@functools.cache
def _normal_skewness(seeds: int) -> np.ndarray:
    """Return the sorted absolute skewness of normal samples."""
    samples = np.random.default_rng(seeds).standard_normal((_SAMPLES, seeds))
    return np.sort(np.abs(_skewness(samples)))
