"""The findings of an ablation: every variant against its reference."""

from typing import Literal, cast

from dashboards.ablation.judging import answer
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.outcome.findings import Findings, bounds, claim
from raysearch.messages import Metric, VariantResult, Verdict


def findings(run: View) -> Findings:
    """Return the findings of an ablation."""
    warnings = [*run.study.warnings, run.devices_note, *answer.collapse_warnings(run)]
    return Findings(
        metric=Metric(name=run.metric, id=run.metric_id, mode=cast(Literal["max", "min"], run.mode)),
        variants=[_variant(run, variant) for variant in run.variants],
        warnings=[warning for warning in warnings if warning],
        planned=run.planned,
        complete=run.planned > 0 and run.missing == 0,
    )


def _variant(run: View, variant: Variant) -> VariantResult:
    row = variant.compared
    return VariantResult(
        name=variant.name,
        label=variant.label,
        settings=dict(variant.settings),
        reference=variant.reference,
        verdict=cast(Verdict, variant.verdict),
        claim=claim(variant.label, run.named[variant.reference].label, variant.verdict, row, run.metric),
        mean=row["mean"],
        interval=bounds(*variant.mean_interval),
        difference=None if variant.is_reference else row["delta"],
        difference_interval=None if variant.is_reference else bounds(row["delta_low"], row["delta_high"]),
        p=row["p"],
        p_holm=row["p_holm"],
        seeds=row["seeds"],
        failed=row["failed"],
        stopped=row["stopped"],
        missing=variant.missing,
        refused=row["refused"],
    )
