"""What a study can find and what that costs, by the cells that have ended: of the run itself, or of a pilot.

The spread of paired differences decides how small an effect some seeds find, see `studies.analysis.power`. The cells so
far show the hours, the dollars and the disk space of further ones.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.runs import results
from raysearch.runs.study_record import StudyRecord
from raysearch.studies.analysis import looks, power
from raysearch.studies.analysis.t_tests import FEWEST

_LEAST_SHOWN = 0.1  # gigabytes
_GROWING = ("cells", "checkpoints")  # folders of a run that grow with every cell


@dataclass(frozen=True)
class CellCost:
    """The mean cost of a cell; None where it is not known.

    Args:
        hours: of the sweep, with as many trials at a time as it had.
        worker_hours: of the cell's worker group.
        dollars: of the machines.
        gigabytes: of results and checkpoints; less than a tenth in all is not worth a word.
    """

    hours: float | None = None
    worker_hours: float | None = None
    dollars: float | None = None
    gigabytes: float | None = None

    def describe(self, cells: int) -> str:
        """Return the cost of a number of cells, in a few words.

        >>> CellCost(hours=0.045, dollars=0.88, gigabytes=0.02).describe(70)
        '3.1 h, $62, 1.4 GB'
        """
        parts = []
        if self.hours is not None:
            parts.append(f"{_digits(cells * self.hours)} h")
        elif self.worker_hours is not None:
            parts.append(f"{_digits(cells * self.worker_hours)} worker hours")
        if self.dollars is not None:
            parts.append(f"${_digits(cells * self.dollars)}")
        if self.gigabytes is not None and cells * self.gigabytes >= _LEAST_SHOWN:
            parts.append(f"{_digits(cells * self.gigabytes)} GB")
        return ", ".join(parts)


@dataclass(frozen=True)
class PowerPlan:
    """The power of a planned study.

    Args:
        metric: the column that variants are compared by.
        spread: standard deviation of paired differences, in units of the metric.
        seeds: planned per variant.
        variants: number of them, with the references.
        comparisons: number of them, over which levels are corrected.
        counts: the looks of an adaptive study.
        ended: number of cells that have ended.
        cost: of a cell.
    """

    metric: str
    spread: float
    seeds: int
    variants: int
    comparisons: int
    counts: Sequence[int] = ()
    ended: int = 0
    cost: CellCost = field(default_factory=CellCost)

    def smallest_effect(self) -> float | None:
        """Return the smallest effect that the planned seeds find with a power of 80 %; None for fewer than three."""
        if self.seeds < FEWEST:
            return None
        return power.smallest_effect(self.spread, self.seeds, comparisons=self._sharing())

    def seeds_for(self, effect: float) -> int | None:
        """Return the number of seeds that finds a difference with a power of 80 %; None for too many to plan."""
        return power.seeds_for(effect, self.spread, comparisons=self._sharing())

    def further_cells(self, effect: float) -> int | None:
        """Return the cells that a difference needs beside those that have ended; None for too many to plan."""
        seeds = self.seeds_for(effect)
        return None if seeds is None else max(0, self.variants * seeds - self.ended)

    def describe(self, effect: float | None = None) -> str:
        """Return what the planned seeds find, and what a smaller effect needs, in one line.

        Args:
            effect: a difference of the metric; None: half of the smallest that the planned seeds find.

        >>> plan = PowerPlan("map", spread=0.005, seeds=5, variants=8, comparisons=1)
        >>> plan.describe(0.004)
        '5 seeds find a difference of 0.0084 in map with 80 % power; 0.004 needs 15 seeds: 120 cells'
        """
        smallest = self.smallest_effect()
        if smallest is None:
            finding = f"{self.seeds} seeds find nothing, since a verdict needs {FEWEST}"
            wanted = self.spread if effect is None else effect
        else:
            finding = f"{self.seeds} seeds find a difference of {_digits(smallest)} in {self.metric} with 80 % power"
            wanted = smallest / 2 if effect is None else effect
        needed = self.seeds_for(wanted)
        if needed is None:
            return f"{finding}; {_digits(wanted)} needs more than {power.MOST_SEEDS:,} seeds"
        cells = self.variants * needed - self.ended
        if cells <= 0:
            return f"{finding}; {_digits(wanted)} needs {needed} seeds, which have ended"
        further = "further " if self.ended else ""
        cost = self.cost.describe(cells)
        most = "at most " if self.counts else ""
        return f"{finding}; {_digits(wanted)} needs {needed} seeds: {most}{cells:,} {further}cells{cost and ', '}{cost}"

    def _sharing(self) -> int:
        """Return how many comparisons share the level. The last look of an adaptive study has a part of it."""
        share = looks.weights(self.counts)[-1] if self.counts else 1.0
        return max(1, math.ceil(self.comparisons / share))


def plan_power(study: StudyRecord, directory: Path, pilot: Path | None = None) -> PowerPlan | None:
    """Return the power of a study by its cells so far; None if these show no spread.

    Args:
        study: the record of what is planned.
        directory: of the run, whose cells so far show spread and cost.
        pilot: directory of a run that shows them instead, such as one with fewer variants.

    Raises:
        UserError: a directory that is no run, or a pilot that compares by another metric.
    """
    metric = study.metric or "map"
    shown = pilot or directory
    if pilot is None and not (directory / "study.json").exists():
        return None
    source = results.read_study(shown)
    if (source.metric or "map") != metric:
        raise UserError(f"the pilot '{shown}' compares by {source.metric}, and this study by {metric}")
    ended = results.read_cells(shown / "cells", [cell.cell for cell in source.cells])
    if not ended:
        return None
    reference = source.reference or study.reference or "reference"
    names = {cell.variant for cell in source.cells if cell.cell in ended}
    references = {name: other for name, other in source.references.items() if name in names and other in names}
    compared = references or reference
    spread = power.paired_spread(results.table(source, ended), metric, compared) if reference in names else None
    if spread is None:
        return None
    here = results.read_cells(directory / "cells", [cell.cell for cell in study.cells])
    return PowerPlan(
        metric=metric,
        spread=spread,
        seeds=len(study.seeds),
        variants=len(study.variants),
        comparisons=study.comparisons or max(1, len(study.variants) - 1),
        counts=study.looks,
        ended=len(here),
        cost=_mean_cost(source, ended, shown),
    )


def _mean_cost(study: StudyRecord, ended: Mapping[str, Mapping[str, Any]], directory: Path) -> CellCost:
    """Return the mean cost of a run's cells. Cells that other runs had finished cost nothing here, and took no time."""
    computed = len(ended) - (study.adopted or 0)
    seconds = [row["seconds"] for row in ended.values() if row.get("seconds")]
    size = sum(path.stat().st_size for name in _GROWING for path in (directory / name).rglob("*") if path.is_file())
    return CellCost(
        hours=study.wall_seconds / computed / 3600 if study.wall_seconds and computed > 0 else None,
        worker_hours=sum(seconds) / len(seconds) / 3600 if seconds else None,
        dollars=study.cost.dollars / computed if study.cost.dollars and computed > 0 else None,
        gigabytes=size / len(ended) / 1e9 if size else None,
    )


def _digits(value: float) -> str:
    """Return a number with two significant digits, and with all digits before the point.

    >>> [_digits(value) for value in (0.00842, 3.14, 61.7, 1234.5)]
    ['0.0084', '3.1', '62', '1,234']
    """
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"
