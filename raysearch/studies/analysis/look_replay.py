"""The looks of an adaptive study, replayed in order from its cells. `looks` states the rule.

A look uses the cells of its own seeds, of comparisons that are open, and of their references. So a verdict stays,
whatever ends later. A failed cell that is run again does change its look.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from raysearch.core import UserError
from raysearch.studies.analysis import comparisons as paired
from raysearch.studies.analysis import statistics
from raysearch.studies.analysis.devices import Row
from raysearch.studies.analysis.input_errors import is_input_error
from raysearch.studies.analysis.t_tests import LEVEL, holm
from raysearch.studies.configs import looks as look_checks

SEEDS = b"raysearch.seeds"  # key of a table's metadata: the planned seeds in their order, as JSON
UNDECIDED = "undecided"
WITHIN = "within margin"


def weights(looks: Sequence[int]) -> list[float]:
    """Return the share of the level that each look may spend. The shares add up to one.

    Args:
        looks: numbers of seeds, rising.

    >>> weights([5, 10])
    [0.25, 0.75]
    """
    squares = [0, *(seeds**2 for seeds in looks)]
    return [(later - earlier) / squares[-1] for earlier, later in itertools.pairwise(squares)]


@dataclass
class Comparison:
    """A comparison over the looks so far."""

    p: float | None = None  # sequential
    delta: float = 0.0  # at the look that gave it
    verdict: str = UNDECIDED

    def add_look(self, row: Mapping[str, Any], weight: float) -> None:
        """Take the test of a look into the sequential p-value."""
        if row["p"] is None:
            return
        weighted_p = min(1.0, row["p"] / weight)
        if self.p is None or weighted_p < self.p:
            self.p = weighted_p
            self.delta = row["delta"]


@dataclass
class Replay:
    """The looks of a study, replayed in order."""

    cells: Sequence[Row]
    metric: str
    references: Mapping[str, str]
    looks: Sequence[int]
    seeds: Sequence[int]  # in the order in which looks take them
    margin: float | None
    mode: str
    family: int
    comparisons: dict[str, Comparison] = field(init=False)

    def __post_init__(self) -> None:
        self.comparisons = {name: Comparison() for name in self.references if not self.is_reference(name)}

    @classmethod
    def from_table(
        cls,
        table: pa.Table,
        metric: str,
        reference: str | Mapping[str, str],
        looks: Sequence[int],
        margin: float | None,
        mode: str,
        comparisons: int | None,
        seeds: Sequence[int] | None,
    ) -> "Replay":
        """Check what a caller gave, and return the replay before its first look."""
        looks = look_checks.check_looks(looks)
        margin = look_checks.check_margin(margin)
        if mode not in ("max", "min"):
            raise UserError(f"mode must be max or min, not '{mode}'")
        cells, references = paired.read_running(table, metric, reference)
        family = statistics.recorded_family(table) if comparisons is None else comparisons
        planned = _recorded_seeds(table) if seeds is None else seeds
        if planned is None:
            planned = sorted({row["seed"] for row in cells if row["seed"] is not None})
        compared = sum(name != other for name, other in references.items())
        return cls(cells, metric, references, looks, planned, margin, mode, max(family or 0, compared))

    def is_reference(self, name: str) -> bool:
        """Return whether a variant is a reference."""
        return self.references[name] == name

    def open_names(self) -> list[str]:
        """Return the variants that are undecided."""
        return [name for name, comparison in self.comparisons.items() if comparison.verdict == UNDECIDED]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of every look that was reached."""
        for number, (count, weight) in enumerate(zip(self.looks, weights(self.looks), strict=True), start=1):
            names = self.open_names()
            names = list(dict.fromkeys([*(self.references[name] for name in names), *names]))
            cells = self._cells_of_look(names, count)
            if not names or cells is None:
                return
            yield from self._judge(cells, number, weight)

    def _cells_of_look(self, names: Sequence[str], count: int) -> list[Row] | None:
        """Return the cells of variants and the first seeds; None if some have not ended."""
        seeds = set(self.seeds[:count])
        cells: dict[str, list[Row]] = {name: [] for name in names}  # the order of rows does not depend on the table
        for row in self.cells:
            if row["variant"] in cells and row["seed"] in seeds and _has_ended(row):
                cells[row["variant"]].append(row)
        if len(seeds) < count or any({row["seed"] for row in rows} != seeds for rows in cells.values()):
            return None
        return [row for rows in cells.values() for row in rows]

    def _judge(self, cells: Sequence[Row], number: int, weight: float) -> list[dict[str, Any]]:
        level = 1 - (1 - LEVEL) * weight
        compared = paired.compare_rows(cells, self.metric, self.references, level)
        for row in compared:
            if row["variant"] in self.comparisons:
                self.comparisons[row["variant"]].add_look(row, weight)
        names = list(self.comparisons)
        corrected = dict(zip(names, holm([self.comparisons[name].p for name in names], self.family), strict=True))
        compared.sort(key=lambda row: not self.is_reference(row["variant"]))
        for row in compared:
            name = row["variant"]
            row |= {"look": number, "level": level, "p": corrected.get(name), "verdict": None}
            if name in self.comparisons:
                row["decided"] = row["p"] is not None and row["p"] <= 1 - LEVEL
                row["verdict"] = self._verdict(row)
                self.comparisons[name].verdict = row["verdict"]
        return compared

    def _verdict(self, row: Mapping[str, Any]) -> str:
        if row["decided"]:
            is_higher = self.comparisons[row["variant"]].delta > 0
            return "better" if is_higher == (self.mode == "max") else "worse"
        if self.margin is None or row["delta_low"] is None:
            return UNDECIDED
        return WITHIN if -self.margin <= row["delta_low"] and row["delta_high"] <= self.margin else UNDECIDED

    def empty_row(self, name: str) -> dict[str, Any]:
        """Return the row of a variant that no look has judged."""
        row = {"variant": name, "look": 0, "seeds": 0, "failed": 0, "stopped": 0}
        return row if self.is_reference(name) else row | {"decided": False, "verdict": UNDECIDED}


def _has_ended(row: Row) -> bool:
    """Return whether a cell will not run again. A failure that is not a result will, so its look waits."""
    if row["status"] == "failed":
        return not is_input_error(str(row.get("error")))
    return row["status"] in ("finished", "stopped")


def _recorded_seeds(table: pa.Table) -> list[int] | None:
    """Return the study's seeds as the table records them."""
    text = (table.schema.metadata or {}).get(SEEDS)
    return None if text is None else list(json.loads(text))
