"""The result of one variant for programs, made from its row of `statistics.compare`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from dashboards.outcome.findings import bounds, claim
from raysearch.messages import VariantResult, Verdict


@dataclass(frozen=True)
class ComparedVariant:
    """A variant, and the reference that it is compared with.

    Attributes:
        name: of the variant, for programs.
        label: of the variant, for people.
        settings: dotted path -> value.
        reference: name of its reference.
        reference_label: name of its reference for people.
        verdict: of the comparison; "reference" if it is a reference itself.
    """

    name: str
    label: str
    settings: Mapping[str, Any]
    reference: str
    reference_label: str
    verdict: str


def variant_result(
    variant: ComparedVariant,
    row: Mapping[str, Any],
    metric: str,
    interval: tuple[float | None, float | None],
    missing: int = 0,
) -> VariantResult:
    """Return the result of a variant.

    Args:
        variant: that is compared.
        row: its row of `statistics.compare`.
        metric: name of the metric.
        interval: of the mean; None for bounds that are not known.
        missing: cells of the variant that have not ended.
    """
    is_reference = variant.verdict == "reference"
    return VariantResult(
        name=variant.name,
        label=variant.label,
        settings=dict(variant.settings),
        reference=variant.reference,
        verdict=cast(Verdict, variant.verdict),
        claim=claim(variant.label, variant.reference_label, variant.verdict, row, metric),
        mean=row["mean"],
        interval=bounds(*interval),
        difference=None if is_reference else row["delta"],
        difference_interval=None if is_reference else bounds(row["delta_low"], row["delta_high"]),
        p=row["p"],
        p_holm=row["p_holm"],
        look=row.get("look"),
        seeds=row["seeds"],
        failed=row["failed"],
        stopped=row["stopped"],
        missing=missing,
        refused=row["refused"],
    )
