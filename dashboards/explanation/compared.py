"""An explanation for a comparison with other runs, which compares configs by their names."""

from dataclasses import replace

import pyarrow as pa

from dashboards.ablation.view import View, view
from raysearch.runs import StudyRecord


def compared_view(study: StudyRecord, table: pa.Table) -> View:
    """Return the configs of an explanation as variants.

    Looks judge pairs of configs, and no config needs the seeds of the last look. So the cells that a comparison of runs
    waits for are those that are planned so far.

    Args:
        study: the content of `study.json`.
        table: the results, one row per cell.

    Raises:
        UserError: see `dashboards.ablation.view.view`.
    """
    run = view(study.changed({"looks": []}), table)
    return replace(run, study=run.study.changed({"looks": study.looks}))
