"""The findings of an explanation: every change as a step of its path."""

from typing import cast

from dashboards.explanation.answer import describe_change
from dashboards.explanation.change import ExplainedChange
from dashboards.explanation.view import ExplanationView
from dashboards.outcome.findings import Findings
from dashboards.outcome.variant_result import ComparedVariant, variant_result
from raysearch.messages import Metric, VariantResult
from raysearch.runs.study_record import Mode


def findings(run: ExplanationView) -> Findings:
    """Return the findings of an explanation."""
    return Findings(
        metric=Metric(name=run.metric, id=run.metric_id, mode=cast(Mode, run.mode)),
        variants=[_change(run, change) for change in run.changes],
        warnings=[*run.study.warnings, *([run.devices_note] if run.devices_note else [])],
        planned=len({cell.cell for cell in run.study.cells}),
        complete=run.is_complete,
    )


def _change(run: ExplanationView, change: ExplainedChange) -> VariantResult:
    row = change.step
    place = f" of {change.group}" if change.group else ""
    label = f"step {change.position}{place} ({describe_change(change)})"
    before = "the config before it"
    compared = ComparedVariant(change.name, label, change.after, before, before, row["verdict"])
    return variant_result(compared, row, run.metric, (row["ci_low"], row["ci_high"]))
