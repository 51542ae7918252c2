"""The verdict on each variant of a run, as trackers show it on the runs of its cells."""

from collections.abc import Mapping
from typing import Any

from dashboards.report import report_kind
from raysearch.runs import StudyRecord, results

_COMPARED = {"delta": "difference", "delta_low": "difference_low", "delta_high": "difference_high", "p_holm": "p_holm"}


def judge_variants(study: StudyRecord, ended: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return variant -> verdict, metric, reference, difference with its interval, and corrected p-value.

    Variants of a search that were not judged on fresh seeds have none.

    Args:
        study: the record of the run.
        ended: its ended cells, by hash.

    Raises:
        UserError: the cells must not be compared.
    """
    if not ended:
        return {}
    view = report_kind(study).compared_view(study, results.table(study, ended))
    verdicts: dict[str, dict[str, Any]] = {}
    for variant in view.variants:
        verdict = {"verdict": variant.verdict, "metric": view.metric, "reference": variant.reference}
        numbers = {shown: variant.compared[name] for name, shown in _COMPARED.items()}
        verdicts[variant.name] = verdict | {name: value for name, value in numbers.items() if value is not None}
    return verdicts
