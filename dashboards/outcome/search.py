"""The findings of a search: the best config of each group against its reference, on seeds that chose nothing."""

from typing import Any, cast

from dashboards.outcome.findings import Findings
from dashboards.outcome.variant_result import ComparedVariant, variant_result
from dashboards.search import answer
from dashboards.search.final_evaluation import FinalEvaluation
from dashboards.search.view import SearchView
from raysearch.messages import Metric, VariantResult


def findings(run: SearchView) -> Findings:
    """Return the findings of a search."""
    study = run.study
    name = run.evaluations[0].metric if run.evaluations else run.metrics[0]
    mode = (study.judge_mode or "max") if run.evaluations else run.modes[name]
    evaluations = {evaluation.group: evaluation for evaluation in run.evaluations}
    variants = [variant for group in run.groups for variant in _of_group(run, group, evaluations.get(group))]
    missing = len(study.cells) - len(run.rows)
    tried = len(run.configs) >= (study.budget or 0) * len(run.groups) or run.count("unfinished") == 0
    judged = not study.judge_seeds or len(evaluations) == len(run.groups)
    return Findings(
        metric=Metric(name=name, id=run.ids.get(name, name), mode=cast(Any, mode)),
        variants=variants,
        warnings=[*study.warnings, *run.devices_notes, *answer.chance_sentences(run)],
        planned=len(study.cells),
        complete=bool(run.configs) and missing <= 0 and tried and judged,
    )


def _of_group(run: SearchView, group: str, evaluation: FinalEvaluation | None) -> list[VariantResult]:
    """Return the reference and the best config of a group; nothing before a config has finished."""
    best = run.best(group)
    if best is None:
        return []
    place = f" of {group}" if group else ""
    label = f"the best config{place} ({answer.settings_text(best) or best.name})"
    if evaluation is None:
        row: dict[str, Any] = dict.fromkeys(("delta", "delta_low", "delta_high", "p", "p_holm", "ci_low", "ci_high"))
        row |= {"mean": best.values[run.metrics[0]], "seeds": 0, "failed": 0, "stopped": 0}
        row["refused"] = "its value is of the seeds that chose it, and there is no final evaluation on fresh seeds"
        return [_result(best.name, label, best.settings, "no interval", row, run.metrics[0], place)]
    reference = _result("reference", f"the reference{place}", {}, "reference", evaluation.reference, "", place)
    return [
        reference,
        _result(best.name, label, best.settings, evaluation.verdict, evaluation.best, evaluation.metric, place),
    ]


def _result(name: str, label: str, settings: Any, verdict: str, row: Any, metric: str, place: str) -> VariantResult:
    compared = ComparedVariant(name, label, settings, "reference", f"the reference{place}", verdict)
    return variant_result(compared, row, metric, (row["ci_low"], row["ci_high"]))
