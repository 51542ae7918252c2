"""Comparisons whose differences look skewed: the t-test may be wrong there, and the sign-flip test is beside it.

`studies.analysis.skewness` states the test of skewness, its error rate, and what the sign-flip test assumes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboards.html import formats
from raysearch.studies.analysis import LEVEL, holm, skewness


@dataclass(frozen=True)
class SkewedComparison:
    """A comparison with significantly skewed differences.

    Attributes:
        skewness: of the sample.
        skewness_p: of the test of skewness, corrected by Holm over the comparisons of the run.
        sign_flip_p: of the sign-flip test, corrected over all planned comparisons, and of an adaptive study for the
            share of its look; None where the seeds are too few for a verdict.
    """

    skewness: float
    skewness_p: float
    sign_flip_p: float | None

    @property
    def text(self) -> str:
        """Return the numbers in words."""
        flips = "too few seeds for the sign-flip test"
        if self.sign_flip_p is not None:
            flips = f"sign-flip test {_equals(self.sign_flip_p)}"
        return f"skewness {formats.signed(self.skewness)}, {_equals(self.skewness_p)}, {flips}"


def skewed_comparisons(
    differences: Mapping[str, Sequence[float]], families: Mapping[str, int]
) -> dict[str, SkewedComparison]:
    """Return variant -> its tests, of the variants whose differences are significantly skewed.

    Args:
        differences: variant -> paired differences from its reference.
        families: variant -> number of comparisons that share the level.
    """
    corrected = holm([skewness.skewness_p(values) for values in differences.values()])
    skewed = {}
    for (name, values), p in zip(differences.items(), corrected, strict=True):
        if p is None or p > 1 - LEVEL:
            continue
        tests = skewness.check({name: values}, families[name])[name]  # flips are counted for skewed comparisons only
        if tests.skewness is not None:
            skewed[name] = SkewedComparison(tests.skewness, p, tests.sign_flip_p)
    return skewed


def _equals(p: float) -> str:
    text = formats.p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
