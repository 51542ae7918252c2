"""What a planned study will take: cells, time and disk, from what its cells have taken so far; and its plan as JSON."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from raysearch.engine.options import RunContext
from raysearch.messages import Forecast, Metric, PlanMessage, PlannedCell, PlannedVariant
from raysearch.runs import StudyRecord


def forecast(cells: int, ended: int, seconds: Iterable[float]) -> Forecast:
    """Return a forecast.

    Args:
        cells: planned; of a search the most that there can be.
        ended: those of them that need not run.
        seconds: of cells that finished.

    >>> forecast(6, 2, [10.0, 20.0]).worker_seconds
    60.0
    """
    measured = list(seconds)
    to_run = cells - ended
    mean = sum(measured) / len(measured) if measured else None
    return Forecast(
        cells=cells,
        ended=ended,
        to_run=to_run,
        worker_seconds=0.0 if not to_run else None if mean is None else to_run * mean,
        disk_bytes=None,
        disk_bytes_at_most=None,
    )


def plan_message(context: RunContext, expected: Forecast, statuses: Mapping[str, str], place: str) -> PlanMessage:
    """Return the plan of a study.

    Args:
        context: of the sweep.
        expected: what is left to run.
        statuses: cell -> status, of the cells that have ended.
        place: the path or URI that names the run.
    """
    record = context.run.record
    return PlanMessage(
        kind=record.kind or "ablation",
        study=record.study,
        question=record.question or record.study,
        task=str(record.task),
        profile=str(record.profile),
        profile_reason=str(record.profile_reason),
        run=place,
        data=record.data.name,
        metric=_metric(record),
        reference=record.reference,
        seeds=list(record.seeds),
        factors=list(record.factors),
        variants=_variants(record),
        cells=[
            PlannedCell(cell=cell.cell, variant=cell.variant, seed=cell.seed, status=_status(statuses, cell.cell))
            for cell in (record.cells if record.kind != "search" else ())
        ],
        forecast=expected,
        next=shlex.join(word for word in shlex.split(str(record.command)) if word != "--dry-run"),
    )


def _metric(record: StudyRecord) -> Metric:
    name = (record.metrics[0] if record.metrics else None) or record.metric or ""
    mode = (record.modes[0] if record.modes else None) or record.mode or "max"
    return Metric(name=name, id=record.metric_id or name, mode=mode)


def _variants(record: StudyRecord) -> list[PlannedVariant]:
    if record.kind == "search":
        return []
    counts: dict[str, int] = {}
    for cell in record.cells:
        counts[cell.variant] = counts.get(cell.variant, 0) + 1
    return [
        PlannedVariant(name=variant.name, settings=dict(variant.settings), cells=counts.get(variant.name, 0))
        for variant in record.variants
    ]


def _status(statuses: Mapping[str, str], cell: str) -> Any:
    return statuses.get(cell, "to run")
