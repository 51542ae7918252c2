"""The verdicts of a run, whatever kind of study it is, and the most that may be claimed of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.html import formats
from raysearch.messages import Metric, VariantResult


@dataclass(frozen=True)
class Findings:
    """What the view of a run says.

    Attributes:
        metric: that variants are compared by.
        variants: the reference first; of a search the best config of each group.
        warnings: sentences about numbers that mean less than they seem to.
        planned: the number of cells, as far as it is known.
        complete: whether every planned cell has ended.
    """

    metric: Metric
    variants: Sequence[VariantResult]
    warnings: Sequence[str]
    planned: int
    complete: bool

    @property
    def decided(self) -> bool:
        """Return whether any comparison is decided."""
        return any(variant.verdict in ("better", "worse", "within margin") for variant in self.variants)


def bounds(low: float | None, high: float | None) -> tuple[float, float] | None:
    """Return an interval; None if it has no bounds."""
    return None if low is None or high is None else (low, high)


def claim(label: str, reference: str, verdict: str, row: Mapping[str, Any], metric: str) -> str:
    """Return the most that may be claimed of a variant, in one sentence.

    Args:
        label: the variant's name for people.
        reference: that of its reference.
        verdict: of the comparison.
        row: a row of `statistics.compare`.
        metric: its name.

    >>> row = {"delta": 0.02, "delta_low": 0.01, "delta_high": 0.03, "p_holm": 0.01, "refused": None}
    >>> claim("a", "b", "better", row, "accuracy")
    'a is better than b: accuracy +0.020 [+0.010, +0.030], p (Holm) 0.010.'
    >>> claim("a", "b", "undecided", row, "accuracy")
    'No difference between a and b may be claimed: accuracy +0.020 [+0.010, +0.030].'
    """
    if verdict == "reference":
        return "Other variants are compared with it."
    if verdict == "no result":
        return f"Nothing may be claimed of {label}: no cell has finished."
    if verdict == "no interval":
        return f"Nothing may be claimed of {label}: {row['refused'] or 'there is no interval'}."
    interval = formats.interval(row["delta_low"], row["delta_high"], sign=True)
    measured = f"{formats.metric_name(metric)} {formats.signed(row['delta'])} {interval}".strip()
    if verdict in ("better", "worse"):
        return f"{label} is {verdict} than {reference}: {measured}, p (Holm) {formats.p_value(row['p_holm'])}."
    if verdict == "within margin":
        return f"{label} differs from {reference} by less than the study's margin: {measured}."
    if verdict.endswith(" so far"):
        return f"Nothing may be claimed of {label} before all planned cells have ended; so far {measured}."
    return f"No difference between {label} and {reference} may be claimed: {measured}."
