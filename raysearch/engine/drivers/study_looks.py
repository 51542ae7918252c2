"""The looks of an adaptive study: those that were judged, and the cells that the next look needs.

Both follow from the cells that have ended, by the rule of `studies.analysis.looks`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.runs import describe, results
from raysearch.studies.analysis import looks, open_comparisons
from raysearch.studies.design import AblationPlan, Cell

Ended = Mapping[str, Mapping[str, Any]]  # cell -> its row of the results


@dataclass(frozen=True)
class LookState:
    """What the looks so far have given.

    Args:
        judged: number of looks that were judged.
        judged_at: variant -> number of the look that judged it last, counted from 1; 0 before the first.
        verdicts: variant -> verdict, without references.
    """

    judged: int
    judged_at: Mapping[str, int]
    verdicts: Mapping[str, str]

    @property
    def undecided(self) -> list[str]:
        """The variants without a verdict, in the order of the plan."""
        return [name for name, verdict in self.verdicts.items() if verdict == looks.UNDECIDED]


class StudyLooks:
    """Judges an adaptive study.

    Args:
        plan: with the looks, and all cells up to the last of them.
    """

    def __init__(self, plan: AblationPlan) -> None:
        assert plan.adaptive is not None
        self._plan = plan
        self._record = describe.describe_ablation(plan)
        self.counts = tuple(plan.adaptive.looks)
        self._positions = {seed: position for position, seed in enumerate(plan.seeds)}

    def judge(self, ended: Ended) -> LookState:
        """Return the verdicts of all looks whose cells have ended.

        Raises:
            UserError: the cells must not be compared; see `looks.adaptive`.
        """
        plan = self._plan
        assert plan.adaptive is not None
        judged_at = dict.fromkeys((variant.name for variant in plan.variants), 0)
        verdicts = {name: looks.UNDECIDED for name, other in plan.references.items() if name != other}
        if ended:
            table = looks.adaptive(
                results.table(self._record, ended),
                plan.ablation.metric,
                plan.references,
                self.counts,
                plan.adaptive.margin,
                plan.ablation.mode,
                plan.comparisons,
                plan.seeds,
            )
            for row in table.select(["variant", "look", "verdict"]).to_pylist():
                judged_at[row["variant"]] = row["look"]
                if row["variant"] in verdicts:
                    verdicts[row["variant"]] = row["verdict"]
        return LookState(max(judged_at.values()), judged_at, verdicts)

    def is_over(self, state: LookState) -> bool:
        """Return whether no look is left: all comparisons have ended, or the last look was judged."""
        return state.judged == len(self.counts) or not state.undecided

    def planned(self, state: LookState, look: int | None = None) -> list[Cell]:
        """Return the cells of all looks up to the running one, in the order of the plan.

        Args:
            state: what the looks so far have given.
            look: number of a later look, counted from 1, if no further comparison ends before it; None: the running
                one.
        """
        seeds = {name: self.counts[look - 1] if look else 0 for name, look in state.judged_at.items()}
        if not self.is_over(state):
            for name in self._with_references(state.undecided):
                seeds[name] = self.counts[(look or state.judged + 1) - 1]
        return [cell for cell in self._plan.cells if self._positions[cell.seed] < seeds[cell.variant.name]]

    def early(self, state: LookState, ended: Ended) -> list[Cell]:
        """Return the cells of the next look, of variants that the running one will probably leave undecided.

        They come seed by seed. References are first. The variants follow by their p-values so far, the largest first.
        """
        if self.is_over(state) or state.judged + 1 == len(self.counts):
            return []
        plan = self._plan
        assert plan.adaptive is not None
        count = self.counts[state.judged]
        undecided = open_comparisons.likely_undecided(
            results.table(self._record, ended),
            plan.ablation.metric,
            {name: plan.references[name] for name in state.undecided},
            plan.seeds[:count],
            looks.weights(self.counts)[state.judged],
            plan.adaptive.margin,
        )
        ranks = {name: rank for rank, name in enumerate(self._with_references(undecided))}
        cells = [
            cell
            for cell in plan.cells
            if cell.variant.name in ranks and count <= self._positions[cell.seed] < self.counts[state.judged + 1]
        ]
        return sorted(cells, key=lambda cell: (self._positions[cell.seed], ranks[cell.variant.name]))

    def describe(self, state: LookState) -> str:
        """Return the outcome of the last look, and what follows, in one line."""
        verdicts = list(state.verdicts.values())
        within = verdicts.count(looks.WITHIN)
        undecided = len(state.undecided)
        counts = [f"{len(verdicts) - within - undecided} of {len(verdicts)} comparisons decided"]
        counts += [f"{within} within the margin"] if within else []
        counts += [f"{undecided} undecided"] if undecided else []
        line = f"look {state.judged} of {len(self.counts)}, {self.counts[state.judged - 1]} seeds: {', '.join(counts)}"
        if self.is_over(state):
            return f"{line}; the study is over"
        return f"{line}; the undecided and their references go on to {self.counts[state.judged]} seeds"

    def _with_references(self, names: list[str]) -> list[str]:
        return list(dict.fromkeys([*(self._plan.references[name] for name in names), *names]))
