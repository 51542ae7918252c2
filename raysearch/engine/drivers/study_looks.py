"""The looks of an adaptive study: those that were judged, and the cells that the next look needs.

Both follow from the cells that have ended, by the rule of `studies.analysis.looks`. An adaptive ablation compares its
variants with a reference. An explanation compares configs of its path, and a config takes part in several comparisons.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysearch.runs import StudyRecord, continuation, describe, results
from raysearch.studies.analysis import looks, open_comparisons
from raysearch.studies.design import AblationPlan, Adaptive, Cell

Ended = Mapping[str, Mapping[str, Any]]  # cell -> its row of the results


@dataclass(frozen=True)
class LookedStudy:
    """The comparisons that looks judge.

    Attributes:
        adaptive: the numbers of seeds and the margin.
        seeds: in the order in which looks take them.
        cells: up to the last look.
        references: name in a comparison -> that of its reference; a reference has itself.
        variants: name in a comparison -> variant whose cells it stands for.
        family: number of comparisons over which Holm corrects.
        metric: that is compared.
        mode: "max" or "min".
        tabulate: returns the cells that have ended as a table, whose variants are the names in comparisons.
    """

    adaptive: Adaptive
    seeds: Sequence[int]
    cells: Sequence[Cell]
    references: Mapping[str, str]
    variants: Mapping[str, str]
    family: int
    metric: str
    mode: str
    tabulate: Callable[[Ended], pa.Table]


def looked_ablation(plan: AblationPlan) -> LookedStudy:
    """Return the comparisons of an adaptive ablation: each variant with its reference."""
    assert plan.adaptive is not None
    record = describe.describe_ablation(plan)
    return LookedStudy(
        adaptive=plan.adaptive,
        seeds=plan.seeds,
        cells=plan.cells,
        references={variant.name: plan.references[variant.name] for variant in plan.variants},
        variants={variant.name: variant.name for variant in plan.variants},
        family=plan.comparisons,
        metric=plan.ablation.metric,
        mode=plan.ablation.mode,
        tabulate=lambda ended: results.table(record, ended),
    )


@dataclass(frozen=True)
class LookState:
    """What the looks so far have given.

    Args:
        judged: number of looks that were judged.
        judged_at: name in a comparison -> number of the look that judged it last, from 1; 0 before the first.
        verdicts: these names -> verdict, without references.
    """

    judged: int
    judged_at: Mapping[str, int]
    verdicts: Mapping[str, str]

    @property
    def undecided(self) -> list[str]:
        """The comparisons without a verdict, in the order of the plan."""
        return [name for name, verdict in self.verdicts.items() if verdict == looks.UNDECIDED]


class StudyLooks:
    """Judges an adaptive study.

    Args:
        study: its comparisons and looks.
    """

    def __init__(self, study: LookedStudy) -> None:
        self._study = study
        self.counts = tuple(study.adaptive.looks)
        self._positions = {seed: position for position, seed in enumerate(study.seeds)}

    def judge(self, ended: Ended) -> LookState:
        """Return the verdicts of all looks whose cells have ended.

        Raises:
            UserError: the cells must not be compared; see `looks.adaptive`.
        """
        study = self._study
        judged_at = dict.fromkeys(study.references, 0)
        verdicts = {name: looks.UNDECIDED for name, other in study.references.items() if name != other}
        cells = study.tabulate(ended) if ended else None
        if cells is not None and cells.num_rows:
            table = looks.adaptive(
                cells,
                study.metric,
                study.references,
                self.counts,
                study.adaptive.margin,
                study.mode,
                study.family,
                study.seeds,
            )
            for row in table.select(["variant", "look", "verdict"]).to_pylist():
                judged_at[row["variant"]] = row["look"]
                if row["variant"] in verdicts:
                    verdicts[row["variant"]] = row["verdict"]
        return LookState(max(judged_at.values(), default=0), judged_at, verdicts)

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
        seeds = dict.fromkeys(self._study.variants.values(), 0)
        for name, judged in state.judged_at.items():
            variant = self._study.variants[name]
            seeds[variant] = max(seeds[variant], self.counts[judged - 1] if judged else 0)
        if not self.is_over(state):
            for variant in self._with_references(state.undecided):
                seeds[variant] = self.counts[(look or state.judged + 1) - 1]
        return [cell for cell in self._study.cells if self._positions[cell.seed] < seeds.get(cell.variant.name, 0)]

    def retried(self, rows: Ended) -> list[str]:
        """Return the failed cells that may run again. Those of a look that was judged stay: its verdicts stand."""
        judged = self.judge(rows).judged
        frozen = set(self._study.seeds[: self.counts[judged - 1]]) if judged else set()
        hashes = {cell.hash for cell in self._study.cells if cell.seed not in frozen}
        return [cell for cell, row in rows.items() if row["status"] == "failed" and cell in hashes]

    def early(self, state: LookState, ended: Ended) -> list[Cell]:
        """Return the cells of the next look, of variants that the running one will probably leave undecided.

        They come seed by seed. References are first. The variants follow by their p-values so far, the largest first.
        """
        if self.is_over(state) or state.judged + 1 == len(self.counts):
            return []
        study = self._study
        count = self.counts[state.judged]
        undecided = open_comparisons.likely_undecided(
            study.tabulate(ended),
            study.metric,
            {name: study.references[name] for name in state.undecided},
            study.seeds[:count],
            looks.weights(self.counts)[state.judged],
            study.adaptive.margin,
        )
        ranks = {variant: rank for rank, variant in enumerate(self._with_references(undecided))}
        cells = [
            cell
            for cell in study.cells
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

    def _with_references(self, names: Sequence[str]) -> list[str]:
        """Return the variants of comparisons, references first."""
        study = self._study
        ordered = [*(study.references[name] for name in names), *names]
        return list(dict.fromkeys(study.variants[name] for name in ordered))


def late_looks_warnings(record: StudyRecord) -> list[str]:
    """Return a warning for each run with results of a study that existed before its looks were declared.

    Args:
        record: of the run, with those that it has taken cells from.
    """
    known = [path for path in record.adopted_from if (Path(path) / "study.json").is_file()]
    return [
        f"cells were taken over from '{path}', which had results of this study before its looks were declared; its "
        "levels hold only if those results did not choose the looks"
        for path in continuation.same_question(known, record)
    ]
