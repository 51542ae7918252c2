"""The cells of other runs that a search may learn from: of the runs that the user names, else of those beside it."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.runs import StudyRecord, results


@dataclass(frozen=True)
class OtherCell:
    """An ended cell of another run."""

    run: str  # its directory
    row: Mapping[str, Any]  # of its results
    declared: Mapping[str, Any]  # dotted path -> level of its variant, in the units of its study file

    def history(self) -> list[dict[str, Any]]:
        """Return what the cell reported in each step.

        Raises:
            ValueError: the record of the steps cannot be read.
        """
        steps = json.loads(self.row.get("history") or "[]")
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise ValueError("not a list of steps")
        return steps

    def curve(self, metric: str) -> list[float | None]:
        """Return a metric at each step after the warm-up; None where it was not measured."""
        values = [step.get(metric) for step in self.history() if step.get("phase") != "warmup"]
        return [value if is_number(value) else None for value in values]


def is_number(value: Any) -> bool:
    """Return whether a value of a row is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


@dataclass
class OtherRuns:
    """What other runs hold.

    Attributes:
        cells: finished and stopped cells, on the same data and of the same task.
        left_out: reason -> number of cells of named runs that have other data or another task.
        unreadable: a line per run that cannot be read.
    """

    cells: list[OtherCell] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)


def read_other_runs(directory: Path, record: StudyRecord, named: Sequence[Path] = ()) -> OtherRuns:
    """Read the runs beside a run, or those that the user names.

    A run that cannot be read is left out: it does not concern the search. Files of other users are left out too, since
    anybody can write numbers under a hash.

    Args:
        directory: of the run that is to learn.
        record: its record.
        named: directories of the runs that the user names; empty for those beside the run.
    """
    own = directory.resolve()
    beside = (path.parent for path in sorted(own.parent.glob("*/study.json")))
    runs = OtherRuns()
    for run in dict.fromkeys(path.resolve() for path in (named or beside)):
        if run == own:
            continue
        try:
            other = results.read_study(run)
            difference = _difference(other, record)
            if difference and named:
                runs.left_out[difference] += len(other.cells)
            if difference:
                continue
            runs.cells += _read_cells(run, other)
        except (UserError, OSError) as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            runs.unreadable.append(f"nothing is learned from '{run}': {text}")
    return runs


def _difference(other: StudyRecord, record: StudyRecord) -> str:
    """Return why no cell of another run can be of use; empty if some may."""
    if other.imported:
        return "of other tools"
    if other.task != record.task:
        return "of another task"
    return "on other data" if other.data.content_hash != record.data.content_hash else ""


def _read_cells(run: Path, study: StudyRecord) -> list[OtherCell]:
    declared = {variant.name: variant.declared for variant in study.variants}
    variants = {cell.cell: cell.variant for cell in study.cells}
    rows = results.CellReader(run / "cells", own_only=True).read(variants)
    return [
        OtherCell(str(run), row, declared.get(variants[cell], {}))
        for cell, row in rows.items()
        if row["status"] in ("finished", "stopped")
    ]
