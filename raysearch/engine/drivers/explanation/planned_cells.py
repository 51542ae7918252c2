"""The cells of an explanation: those that choose the next change of a path, and then those that judge the path.

The cells on disk are the record, and the path follows from them. So a driver that continues after a kill takes the same
path. A change that an earlier driver has recorded stays, because the path must not change after it was judged.

With looks, every config that judges has the cells of the first look, and both ends of a path those on which the search
has judged them. These numbers are fixed. Further cells are those of comparisons that the looks so far leave open.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysearch.core import UserError
from raysearch.engine.drivers.explanation.race import looked_path
from raysearch.engine.drivers.study_looks import LookState, StudyLooks
from raysearch.studies.analysis import change_path
from raysearch.studies.design import Cell, ExplainedGroup, ExplanationPlan, Variant

CHOOSE = "choose"
JUDGE = "judge"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class PlannedCells:
    """The cells that are known to be needed, and the paths so far.

    Attributes:
        choosing: cells in which candidates meet.
        judging: cells that judge; none while a path is not complete.
        paths: label of the group -> changes in the order in which they are taken.
        complete: whether every path is complete.
        looks: of complete paths that are judged at looks; else None.
        state: what these looks have given so far.
    """

    choosing: list[Cell]
    judging: list[Cell]
    paths: Mapping[str, list[str]]
    complete: bool
    looks: StudyLooks | None = None
    state: LookState | None = None

    @property
    def cells(self) -> list[Cell]:
        """All of them."""
        return [*self.choosing, *self.judging]

    def missing(self, ended: Collection[str]) -> list[Cell]:
        """Return the cells that have not ended, each once: a change that does nothing by itself makes no new cell."""
        return list({cell.hash: cell for cell in self.cells if cell.hash not in ended}.values())


class ExplanationCells:
    """Finds the cells of an explanation.

    Args:
        plan: the changes and the seeds.
        recorded: label of the group -> changes that an earlier driver has taken.
    """

    def __init__(self, plan: ExplanationPlan, recorded: Mapping[str, Sequence[str]]) -> None:
        self._plan = plan
        self._recorded = recorded
        self._variants: dict[tuple[str, frozenset[str]], Variant | None] = {}
        self._cells: dict[tuple[str, int], Cell] = {}
        self._looks: StudyLooks | None = None

    def planned(self, ended: Mapping[str, Row]) -> PlannedCells:
        """Return the cells that are needed, as far as those that have ended show.

        Args:
            ended: cell -> its row, of those that need not run.
        """
        choosing: list[Cell] = []
        paths: dict[str, list[str]] = {}
        for group in self._plan.groups:
            path, cells = self._follow(group, ended)
            paths[group.label] = path
            choosing += cells
        if any(len(paths[group.label]) < len(group.changes) for group in self._plan.groups):
            return PlannedCells(choosing, [], paths, False)
        variants = [variant for group in self._plan.groups for variant in self._judged(group, paths[group.label])]
        judging = [self._cell(variant, seed) for seed in self._plan.seeds for variant in variants]
        if self._plan.adaptive is None:
            return PlannedCells(choosing, judging, paths, True)
        if self._looks is None:
            self._looks = StudyLooks(looked_path(self._plan, paths, judging))
        state = self._looks.judge(ended)
        return PlannedCells(choosing, self._up_to_look(judging, state), paths, True, self._looks, state)

    def count_most(self, ended: Mapping[str, Row]) -> int:
        """Return the number of cells, if no further comparison ends before the last look.

        Args:
            ended: cell -> its row, of those that need not run.
        """
        planned = self.planned(ended)
        if planned.looks is None or planned.state is None:
            return self._plan.most_cells
        last = planned.looks.planned(planned.state, len(planned.looks.counts))
        return len({cell.hash for cell in [*planned.cells, *last]})

    def _up_to_look(self, cells: Sequence[Cell], state: LookState) -> list[Cell]:
        """Return the cells whose number is fixed, and those of all looks up to the running one.

        Args:
            cells: that judge, up to the last look.
            state: what the looks so far have given.
        """
        assert self._looks is not None
        wanted = {(cell.variant.name, cell.seed) for cell in self._looks.planned(state)}
        ends = {group.variant(made).name for group in self._plan.groups for made in ((), group.names)}
        first = set(self._plan.first_seeds)
        whole = set(self._plan.whole_seeds)
        return [
            cell
            for cell in cells
            if cell.seed in first
            or (cell.seed in whole and cell.variant.name in ends)
            or (cell.variant.name, cell.seed) in wanted
        ]

    def _follow(self, group: ExplainedGroup, ended: Mapping[str, Row]) -> tuple[list[str], list[Cell]]:
        """Return the path as far as it is known, and the cells that have chosen it or will choose the next change."""
        recorded = list(self._recorded.get(group.label, ()))
        path: list[str] = []
        cells: dict[tuple[str, int], Cell] = {}
        while len(path) < len(group.changes):
            made = frozenset(path)
            remaining = [name for name in group.names if name not in made]
            possible = [name for name in remaining if self._variant(group, made | {name}) is not None]
            if len(possible) < 2:
                path.append((possible or remaining)[0])
                continue
            current = self._choosing_cells(group, made)
            candidates = {name: self._choosing_cells(group, made | {name}) for name in possible}
            for step_cells in (current, *candidates.values()):
                cells |= {(cell.variant.name, cell.seed): cell for cell in step_cells}
            if len(path) < len(recorded) and recorded[len(path)] in remaining:
                path.append(recorded[len(path)])
                continue
            if any(cell.hash not in ended for step_cells in (current, *candidates.values()) for cell in step_cells):
                break
            values = {name: self._values(step_cells, ended) for name, step_cells in candidates.items()}
            path.append(change_path.choose_next(self._values(current, ended), values, self._plan.modes[0]))
        return path, list(cells.values())

    def _choosing_cells(self, group: ExplainedGroup, made: frozenset[str]) -> list[Cell]:
        variant = self._variant(group, made)
        return [] if variant is None else [self._cell(variant, seed) for seed in self._plan.choosing_seeds]

    def _judged(self, group: ExplainedGroup, path: Sequence[str]) -> list[Variant]:
        """Return the configs that judge a path, or all combinations of few changes; without those that cannot be."""
        combinations = {
            made for comparison in change_path.comparisons(path) for made in (comparison.without, comparison.made)
        }
        if group.crossed:
            combinations |= {frozenset(made) for made in group.combinations()}
        ordered = sorted(combinations, key=lambda made: (len(made), [name in made for name in group.names]))
        return [variant for made in ordered if (variant := self._variant(group, made)) is not None]

    def _values(self, cells: Sequence[Cell], ended: Mapping[str, Row]) -> dict[int, float]:
        metric = self._plan.metrics[0]
        values = {cell.seed: ended[cell.hash].get(metric) for cell in cells if ended[cell.hash]["status"] == "finished"}
        return {seed: value for seed, value in values.items() if value is not None and math.isfinite(value)}

    def _variant(self, group: ExplainedGroup, made: frozenset[str]) -> Variant | None:
        """Return a config; None if it cannot be."""
        key = (group.label, made)
        if key not in self._variants:
            try:
                self._variants[key] = group.variant(made)
            except UserError:  # values that exclude each other without another change
                self._variants[key] = None
        return self._variants[key]

    def _cell(self, variant: Variant, seed: int) -> Cell:
        key = (variant.name, seed)
        if key not in self._cells:
            (self._cells[key],) = self._plan.cells([variant], [seed])
        return self._cells[key]
