"""The configs that earlier drivers of a search ran, from `study.json` and the cells, without Optuna's file."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.runs import StudyRecord, results
from raysearch.studies.configs import overrides, paths
from raysearch.studies.design import Cell, Group, SearchPlan, Variant
from raysearch.studies.design.search_plan import describe_settings


@dataclass(frozen=True)
class KnownConfig:
    """A config of an earlier driver, as the run's record has it."""

    variant: str  # its name
    settings: Mapping[str, Any]  # dotted path -> value, as the space suggested them
    reports: Mapping[int, float] = field(default_factory=dict)  # step -> metric, of its first seed


def find_configs(plan: SearchPlan, group: Group, run_dir: Path) -> list[KnownConfig]:
    """Return the configs of a group in the order in which they were suggested.

    A config counts if it gives the same cell as in the record, so that files from elsewhere cannot change a value.

    Args:
        plan: the plan that cells are made from.
        group: a group of the search.
        run_dir: the run's directory.
    """
    configs: dict[str, tuple[str, dict[str, Any]]] = {}
    try:
        record = results.read_study(run_dir)
    except UserError:  # a new run, or a record that cannot be read
        record = StudyRecord(study=plan.study, variants=[], cells=[])
    for cell, name, settings in _recorded(plan, group, record):
        configs.setdefault(cell.hash, (name, settings))
    for cell, settings in _unrecorded(plan, group, run_dir, configs):
        configs.setdefault(cell.hash, (f"{len(configs)}: {describe_settings(settings)}", settings))
    ended = results.read_cells(run_dir / "cells", configs)
    metrics = plan.search.metrics
    return [
        KnownConfig(name, settings, reported_values(metrics, ended.get(cell)))
        for cell, (name, settings) in configs.items()
    ]


def _recorded(plan: SearchPlan, group: Group, record: StudyRecord) -> Iterator[tuple[Cell, str, dict[str, Any]]]:
    first_cells = {cell.variant: cell.cell for cell in reversed(record.cells) if cell.stage == "search"}
    prefix = f"{group.label} " if len(plan.groups) > 1 else ""
    for variant in record.variants:
        settings = {path: value for path, value in variant.declared.items() if path not in group.settings}
        name = variant.name.removeprefix(prefix)
        cell = _first_cell(plan, group, name, settings)
        if cell is not None and first_cells.get(variant.name) == cell.hash:
            yield cell, name, settings


def _unrecorded(
    plan: SearchPlan, group: Group, run_dir: Path, known: Mapping[str, object]
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield the configs of cells that ended just before their driver was killed: `study.json` lacks them."""
    space = plan.search.space
    if callable(space) or plan.search.trains_population:
        return
    files = sorted((run_dir / "cells").glob("[!.]*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    names = [path.stem for path in files if path.stem not in known]
    side = plan.reference(group).config.images.side
    for row in results.read_cells(run_dir / "cells", names).values():
        if row["seed"] != plan.seeds[0]:
            continue
        values = paths.flatten(json.loads(row["config"])) if row.get("config") else {}
        searched = {path: value for path, value in values.items() if path in space}
        settings = overrides.unscale_pixels(plan.task, searched, side)
        cell = _first_cell(plan, group, "a cell", settings) if len(settings) == len(space) else None
        if cell is not None and cell.hash == row["cell"]:
            yield cell, settings


def _first_cell(plan: SearchPlan, group: Group, name: str, settings: Mapping[str, Any]) -> Cell | None:
    """Return the cell of a config with the first seed; None if the config cannot be run."""
    try:
        variant: Variant = plan.variant(group, name, settings, recorded=True)
    except UserError:
        return None
    if plan.search.trains_population:
        return plan.member(variant, group, plan.seeds[0])
    return plan.cell(variant, plan.seeds[0])


def reported_values(metrics: Sequence[str], row: Mapping[str, Any] | None) -> dict[int, float]:
    """Return what Optuna's trial was told while a cell ran: every step but the last of a whole cell.

    Args:
        metrics: that the search chooses by; of several none is reported.
        row: of the cell; None if it has not ended.

    Returns:
        Step -> value.
    """
    if row is None or len(metrics) > 1:
        return {}
    history: Sequence[Mapping[str, Any]] = json.loads(row.get("history") or "[]")
    steps = history[:-1] if row["status"] == "finished" else history
    values = {step.get("iteration"): step.get(metrics[0]) for step in steps}
    return {
        iteration: float(value)
        for iteration, value in values.items()
        if isinstance(iteration, int) and isinstance(value, int | float) and math.isfinite(value)
    }
