"""The findings of a study on several data sets: every variant against the reference on its set."""

from dataclasses import replace

from dashboards.outcome import ablation
from dashboards.outcome.findings import Findings
from dashboards.several_sets.view import SetsView


def findings(run: SetsView) -> Findings:
    """Return the findings. Without the cells of a data set that could not be opened, the study is not complete."""
    of_all = ablation.findings(run)
    left_out = [f"{name} could not be opened: {error}" for name, error in run.left_out.items()]
    return replace(
        of_all,
        warnings=[*left_out, *of_all.warnings],
        planned=max(of_all.planned, len(run.study.cells)) if left_out else of_all.planned,
        complete=of_all.complete and not left_out,
    )
