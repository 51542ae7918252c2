"""The final evaluation of a search: its best configs against the reference, on seeds that chose nothing.

All groups form one family of comparisons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dashboards.ablation.variant import verdict_of
from dashboards.ablation.view import View, view
from dashboards.html import verdicts
from dashboards.run_data import MetricRange, is_number, metric_range, typed
from raysearch.runs import StudyRecord, VariantRecord
from raysearch.studies.analysis import LEVEL, compare, devices, holm

REFERENCE = "reference"
BEST = "best"


@dataclass(frozen=True)
class FinalEvaluation:
    """The judging cells of a group."""

    group: str  # "hash.bits=24"; empty if the search has no groups
    metric: str
    reference: Mapping[str, Any]  # row of statistics.compare
    best: Mapping[str, Any]  # row of statistics.compare
    values: Mapping[str, Mapping[int, float]]  # REFERENCE and BEST -> seed -> metric
    verdict: str  # "better", "worse", "undecided", "no interval" or "no result"; " so far" while cells are missing
    limits: MetricRange  # values that the metric can have
    devices_note: str = ""  # a line if its cells ran on different kinds of devices
    is_complete: bool = True  # whether all judging cells of the search have ended

    @property
    def seeds(self) -> int:
        """Number of seeds that finished with both configs."""
        return len(self.values[REFERENCE].keys() & self.values[BEST].keys())


def final_evaluations(
    study: StudyRecord, rows: Sequence[Mapping[str, Any]], groups: Sequence[str]
) -> tuple[FinalEvaluation, ...]:
    """Compare the best config of each group with the group's reference.

    Args:
        study: the content of `study.json`.
        rows: the judging cells.
        groups: names of the groups; one empty name if the search has no groups.

    Returns:
        One evaluation per group that has a judging cell. p-values are corrected by Holm over all groups.

    Raises:
        UserError: cells cannot be compared; see `statistics.compare`.
    """
    metric = judging_metric(study)
    compared = []
    for group in groups:
        kinds = {f"{kind} ({group})" if group else kind: kind for kind in (REFERENCE, BEST)}
        cells = [{**row, "variant": kinds[row["variant"]]} for row in rows if row["variant"] in kinds]
        if cells:
            compared.append((group, cells, _compare(cells, metric)))
    corrected = holm([comparison[BEST]["p"] for _, _, comparison in compared], family=len(groups))
    limits = metric_range(metric, (row[metric] for row in rows if is_number(row.get(metric))))
    references = dict.fromkeys((REFERENCE, BEST), REFERENCE)
    ended = {(row["variant"], row["seed"]) for row in rows}
    is_complete = all((cell.variant, cell.seed) in ended for cell in study.cells if cell.stage == "judge")
    evaluations = []
    for (group, cells, comparison), p_holm in zip(compared, corrected, strict=True):
        decided = p_holm is not None and p_holm <= 1 - LEVEL
        best = {**comparison[BEST], "p_holm": p_holm, "decided": decided and is_complete}
        comparable = devices.comparable(cells, metric, references)
        values = {kind: _values(comparable, kind, metric) for kind in (REFERENCE, BEST)}
        verdict = verdict_of({**best, "decided": decided}, study.judge_mode or "max")
        verdict = verdict if is_complete else verdicts.provisional(verdict)
        note = devices.mixed_sentence(cells, metric, references)
        evaluations.append(
            FinalEvaluation(group, metric, comparison[REFERENCE], best, values, verdict, limits, note, is_complete)
        )
    return tuple(evaluations)


def evaluation_view(study: StudyRecord, table: pa.Table) -> View:
    """Return the final evaluation as if it were an ablation: a reference and a best config, for each group.

    Args:
        study: the record of the search.
        table: the results, as `results.load` returns them.

    Raises:
        UserError: the cells must not be compared; see `statistics.compare`.
    """
    cells = [cell for cell in study.cells if cell.stage == "judge"]
    names = dict.fromkeys(cell.variant for cell in cells)
    known = {variant.name: variant for variant in study.variants}
    references = {name: REFERENCE + name.removeprefix(BEST) for name in names if name.startswith(BEST)}
    changes = {
        "metric": judging_metric(study),
        "mode": study.judge_mode or "max",
        "variants": [known.get(name, VariantRecord(name=name)) for name in names],
        "cells": cells,
        "reference": next((name for name in names if name.startswith(REFERENCE)), REFERENCE),
        "references": {name: reference for name, reference in references.items() if reference in names},
        "seeds": sorted({cell.seed for cell in cells}),
        "factors": [],
    }
    reduced = study.model_copy(update=changes)
    if "stage" not in table.column_names:
        return view(reduced, table.slice(0, 0))
    return view(reduced, table.filter(pc.equal(table["stage"], "judge")))


def judging_metric(study: StudyRecord) -> str:
    """Return the metric of the final evaluation. A metric that chose configs cannot evaluate them.

    >>> judging_metric(StudyRecord(study="s", metrics=["map_validation"], metric="map", variants=[], cells=[]))
    'map'
    """
    metric = study.judge_metric or study.metric
    return metric if metric is not None and metric not in study.metrics else "map"


def _compare(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, dict[str, Any]]:
    """Compare both kinds; a kind without an ended cell gets an empty row."""
    columns = {"variant": pa.string(), "seed": pa.int64(), "status": pa.string(), "config": pa.string()}
    columns |= {"metric_ids": pa.string(), "metric_steps": pa.string(), "device": pa.string()}
    columns |= {"gpu_seconds": pa.float64(), metric: pa.float64()}
    planned: list[Mapping[str, Any]] = [{"variant": kind, "status": "planned"} for kind in (REFERENCE, BEST)]
    table = typed([*planned, *rows], columns)
    return {row["variant"]: row for row in compare(table, metric, REFERENCE).to_pylist()}


def _values(rows: Sequence[Mapping[str, Any]], kind: str, metric: str) -> dict[int, float]:
    finished = [row for row in rows if row["variant"] == kind and row["status"] == "finished"]
    return {row["seed"]: row[metric] for row in finished if is_number(row.get(metric))}
