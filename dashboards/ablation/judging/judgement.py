"""The comparison of every variant, by the rule of its study: one plan with fixed seeds, or looks that were declared.

A plan with fixed seeds is judged once, when all its cells have ended. Until then its verdicts are provisional. An
adaptive study is judged at its looks, and the verdict of a look stays.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dashboards.ablation.variant import verdict_of
from dashboards.html import verdicts
from dashboards.run_data import typed
from raysearch.runs import StudyRecord
from raysearch.studies.analysis import looks, statistics

Row = Mapping[str, Any]

_OF_A_LOOK = ("ci_low", "ci_high", "delta_low", "delta_high", "p", "p_holm")  # null before the first look


@dataclass(frozen=True)
class JudgedCells:
    """The cells of a study, and what they are judged by.

    Attributes:
        study: the record of the run.
        rows: the ended cells.
        metric: the column that is compared.
        mode: "max" or "min".
        references: variant -> the variant that it is compared with, of every variant; a reference has itself.
    """

    study: StudyRecord
    rows: Sequence[Row]
    metric: str
    mode: str
    references: Mapping[str, str]

    @property
    def seeds(self) -> list[int]:
        """Return the seeds in the order in which looks take them."""
        return list(self.study.seeds) or sorted({row["seed"] for row in self.rows})

    def table(self) -> pa.Table:
        """Return the cells as a table, with an empty row for every variant."""
        types = {"variant": pa.string(), "seed": pa.int64(), "status": pa.string(), "config": pa.string()}
        types |= {"metric_ids": pa.string(), "metric_steps": pa.string(), "device": pa.string(), "error": pa.string()}
        types |= {"gpu_seconds": pa.float64(), self.metric: pa.float64()}
        planned: list[Row] = [{"variant": name, "status": "planned"} for name in self.references]
        return typed([*planned, *self.rows], types)

    def compared(self) -> dict[str, dict[str, Any]]:
        """Return variant -> its row of `statistics.compare` over all cells so far."""
        table = statistics.compare(self.table(), self.metric, self.references, self.study.comparisons)
        return {row["variant"]: row for row in table.to_pylist()}


@dataclass(frozen=True)
class Judgement:
    """The comparisons of a study as the report shows them.

    Attributes:
        rows: variant -> its row of `statistics.compare`, or of `looks.adaptive` with its p-value as `p_holm`. `verdict`
            is the word that the report shows. An adaptive row also has `planned`, the number of seeds of its look, and
            `used_seeds`, which they are.
        missing: variant -> planned cells that have not ended; of an adaptive study up to its next look.
        paths: variant -> its row at every look that judged it; empty lists for fixed seeds.
        open_names: variants of an adaptive study that a later look needs, with their references.
    """

    rows: Mapping[str, Row]
    missing: Counter[str]
    paths: Mapping[str, Sequence[Row]]
    open_names: frozenset[str]


def judge(cells: JudgedCells) -> Judgement:
    """Compare every variant with its reference.

    Raises:
        UserError: the cells must not be compared; see `statistics.compare`.
    """
    return _judge_looks(cells) if cells.study.looks else _judge_plan(cells)


def _judge_plan(cells: JudgedCells) -> Judgement:
    ended = {(row["variant"], row["seed"]) for row in cells.rows}
    left_out = cells.study.left_out  # without results for a reason that is known; the others are judged
    missing = Counter(
        cell.variant
        for cell in cells.study.cells
        if (cell.variant, cell.seed) not in ended and cell.variant not in left_out
    )
    rows = cells.compared()
    for name, row in rows.items():
        row["verdict"] = "reference" if name == cells.references[name] else verdict_of(row, cells.mode)
        if missing and row["decided"]:
            row["verdict"] = verdicts.provisional(row["verdict"])
            row["decided"] = False
    return Judgement(rows, missing, {name: [] for name in rows}, frozenset())


def _judge_looks(cells: JudgedCells) -> Judgement:
    study = cells.study
    table = looks.path(
        cells.table(),
        cells.metric,
        cells.references,
        study.looks,
        study.margin,
        cells.mode,
        study.comparisons,
        study.seeds or None,
    )
    paths: dict[str, list[Row]] = {name: [] for name in cells.references}
    for row in table.to_pylist():
        paths[row["variant"]].append(row)
    so_far = cells.compared()
    rows = {name: _last_look(cells, path, so_far[name]) for name, path in paths.items()}
    reached = max((row["look"] for row in rows.values()), default=0)
    waiting = [name for name, row in rows.items() if row["verdict"] == "undecided"]
    is_over = reached == len(study.looks)
    open_names = frozenset() if is_over else frozenset([*waiting, *(cells.references[name] for name in waiting)])
    for row in rows.values():
        row["verdict"] = shown_verdict(row)
    missing = Counter() if is_over else _missing_before(cells, study.looks[reached], open_names)
    return Judgement(rows, missing, paths, open_names)


def _last_look(cells: JudgedCells, path: Sequence[Row], so_far: Row) -> dict[str, Any]:
    """Return a variant's row at the last look that judged it; before the first, the means so far without intervals."""
    planned = cells.study.looks
    if path:
        row = {**path[-1], "p": None, "p_holm": path[-1]["p"]}
        seeds = planned[row["look"] - 1]
        return row | {"planned": seeds, "used_seeds": frozenset(cells.seeds[:seeds])}
    is_reference = so_far["decided"] is None
    return {
        **so_far,
        **dict.fromkeys(_OF_A_LOOK),
        "look": 0,
        "level": None,
        "planned": planned[0],
        "decided": None if is_reference else False,
        "verdict": None if is_reference else "undecided",
        "refused": f"the first look, at {planned[0]} seeds, has not ended",
    }


def shown_verdict(row: Row) -> str:
    """Return the word that the report shows for a row of `looks.adaptive` or `looks.path`."""
    if row["verdict"] is None:
        return "reference"
    if row["verdict"] != "undecided":
        return str(row["verdict"])
    if row["mean"] is None:
        return "no result"
    return "undecided" if row["delta_low"] is not None else "no interval"


def _missing_before(cells: JudgedCells, due: int, open_names: frozenset[str]) -> Counter[str]:
    """Return the cells of open comparisons that have not ended before the look with `due` seeds."""
    seeds = set(cells.seeds[:due])
    ended = Counter(name for name, seed in {(row["variant"], row["seed"]) for row in cells.rows} if seed in seeds)
    missing = {name: due - ended[name] for name in cells.references if name in open_names}
    return Counter({name: number for name, number in missing.items() if number > 0})
