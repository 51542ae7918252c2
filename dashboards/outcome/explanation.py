"""The findings of an explanation: every change as a step of its path."""

from typing import cast

from dashboards.explanation.answer import describe_change
from dashboards.explanation.view import ExplainedChange, ExplanationView
from dashboards.outcome.findings import Findings, bounds, claim
from raysearch.messages import Metric, VariantResult, Verdict
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
    return VariantResult(
        name=change.name,
        label=label,
        settings=dict(change.after),
        reference="the config before it",
        verdict=cast(Verdict, row["verdict"]),
        claim=claim(label, "the config before it", row["verdict"], row, run.metric),
        mean=row["mean"],
        interval=bounds(row["ci_low"], row["ci_high"]),
        difference=row["delta"],
        difference_interval=bounds(row["delta_low"], row["delta_high"]),
        p=row["p"],
        p_holm=row["p_holm"],
        seeds=row["seeds"],
        failed=row["failed"],
        stopped=row["stopped"],
        missing=0,
        refused=row["refused"],
    )
