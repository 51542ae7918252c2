"""What a planned study will take: cells, time and disk, from what its cells have taken so far; and its plan as JSON."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raysearch.core import count_cpus
from raysearch.engine.options import RunContext, cluster_address
from raysearch.messages import Forecast, Metric, PlanMessage, PlannedCell, PlannedVariant
from raysearch.runs import StudyRecord
from raysearch.runs.disk_forecast import CellStates, DiskForecast, StudyShape, forecast_disk, measure_states
from raysearch.storage import Location
from raysearch.studies.configs import RunConfig
from raysearch.studies.design import Cell, SearchPlan

_WEIGHTS_AND_MOMENTUM = 2


def forecast(cells: int, ended: int, seconds: Iterable[float], disk: DiskForecast | None = None) -> Forecast:
    """Return a forecast.

    Args:
        cells: planned; of a search the most that there can be.
        ended: those of them that need not run.
        seconds: of cells that finished.
        disk: of the checkpoints; None if it is not known.

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
        disk_bytes=None if disk is None else disk.at_end,
        disk_bytes_at_most=None if disk is None else disk.at_most,
    )


def ablation_disk(
    context: RunContext, cells: Sequence[Cell], ended: Mapping[str, Mapping[str, Any]]
) -> DiskForecast | None:
    """Return the disk space that the checkpoints of an ablation take; None if it is not known.

    Args:
        context: of the sweep.
        cells: that are planned.
        ended: cell -> its row, of those that need not run.
    """
    counts = Counter(cell.variant.name for cell in cells)
    # As `inspection.cell_choice.may_represent` has it: the most cells of a variant that may still become its median.
    undecided = sum(count // 2 + 1 for count in counts.values())
    to_run = len(cells) - len(ended)
    shape = StudyShape(to_run, len(cells), len(counts), undecided, _most_trials(context, to_run))
    finished = [cell for cell, row in ended.items() if row["status"] == "finished"]
    return _disk(context, shape, finished, cells[0].variant.config)


def search_disk(context: RunContext, plan: SearchPlan, finished: Sequence[str]) -> DiskForecast | None:
    """Return the disk space that the checkpoints of a search take at most; None if it is not known.

    Args:
        context: of the sweep.
        plan: the budget and the groups.
        finished: its cells so far.
    """
    total = plan.most_cells
    to_run = max(0, total - len(finished))
    chosen = 2 * len(plan.groups)  # a reference and a best config each
    shape = StudyShape(to_run, total, chosen, total, _most_trials(context, to_run))
    return _disk(context, shape, finished, plan.reference(plan.groups[0]).config)


def _disk(context: RunContext, shape: StudyShape, finished: Sequence[str], config: RunConfig) -> DiskForecast | None:
    """Return the forecast by the states of finished cells, or else by the weights of the config's backbone."""
    states = measure_states(Location.parse(context.checkpoints), finished) or _states_of_network(config)
    return None if states is None else forecast_disk(shape, states, context.options.keep)


def _states_of_network(config: RunConfig) -> CellStates | None:
    """Return the states of a cell with this config: weights and the memory of an optimizer, nearly all of a state."""
    if config.backbone is None or not config.checkpoint_holds_backbone:
        return None
    from raysearch.models import backbones  # which imports torch

    weights = backbones.weight_bytes(config.backbone[0])
    if weights is None:
        return None
    return CellStates(present=0, last=_WEIGHTS_AND_MOMENTUM * weights, all=2 * _WEIGHTS_AND_MOMENTUM * weights)


def _most_trials(context: RunContext, to_run: int) -> int:
    """Return how many trials run at a time, at most. The size of a cluster is not known here."""
    options = context.options
    here = to_run if cluster_address(options.address) else max(1, count_cpus() // options.workers)
    return min(to_run, options.concurrency or here)


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
