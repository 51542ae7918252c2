"""The findings of an ablation: every variant against its reference."""

from typing import Literal, cast

from dashboards.ablation.judging import answer
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.outcome.findings import Findings
from dashboards.outcome.variant_result import ComparedVariant, variant_result
from raysearch.messages import Metric, VariantResult


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
    compared = ComparedVariant(
        name=variant.name,
        label=variant.label,
        settings=variant.settings,
        reference=variant.reference,
        reference_label=run.named[variant.reference].label,
        verdict=variant.verdict,
    )
    return variant_result(compared, variant.compared, run.metric, variant.mean_interval, variant.missing)
