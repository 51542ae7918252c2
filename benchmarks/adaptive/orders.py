"""Adaptive studies replayed on recorded trainings, whose seeds run in random orders."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from adaptive import rules

from raysearch.studies import statistics

METRIC = "accuracy"


@dataclass(frozen=True)
class Orders:
    """Replays of a recorded study; arrays have a value per order.

    Attributes:
        opposite: comparisons decided in the other direction than with all seeds.
        beyond: comparisons decided that all seeds leave undecided.
        missed: comparisons undecided that all seeds decide.
        within: comparisons that ended within the margin.
        cells: that the study has run.
        all_cells: with all seeds.
        decided: comparisons that all seeds decide.
        comparisons: of the study.
    """

    opposite: np.ndarray
    beyond: np.ndarray
    missed: np.ndarray
    within: np.ndarray
    cells: np.ndarray
    all_cells: int
    decided: int
    comparisons: int

    @property
    def contradicted(self) -> float:
        """Share of orders with a verdict that all seeds do not give."""
        return float(np.mean((self.opposite + self.beyond) > 0))

    @property
    def saved(self) -> list[float]:
        """Mean share of cells saved, and the quantiles that hold 95 % of the orders."""
        shares = 1 - self.cells / self.all_cells
        return [float(shares.mean()), *(float(bound) for bound in np.quantile(shares, (0.025, 0.975)))]


def replay(table: pa.Table, reference: str, orders: int, margin: float | None = None) -> Orders:
    """Replay adaptive studies in random orders of the seeds.

    Args:
        table: variant, seed, status and accuracy of every cell.
        reference: the variant that the others are compared with.
        orders: how many.
        margin: of a difference in accuracy that does not matter.
    """
    seeds = sorted(set(table["seed"].to_pylist()))
    fixed = {row["variant"]: row for row in statistics.compare(table, METRIC, reference).to_pylist()}
    del fixed[reference]
    expected = {name: _sign(row["decided"], row["delta"]) for name, row in fixed.items()}
    rng = np.random.default_rng(0)
    counts = [
        _count(table, reference, [int(seed) for seed in rng.permutation(seeds)], margin, expected)
        for _ in range(orders)
    ]
    arrays = [np.array(column) for column in zip(*counts, strict=True)]
    decided = sum(map(bool, expected.values()))
    return Orders(*arrays, table.num_rows, decided, len(expected))


def read_recorded() -> tuple[pa.Table, str]:
    """Return the recorded cells and the name of the reference."""
    import json

    from recorded import seed_grid

    table = pq.read_table(seed_grid.PATH)
    return table, json.loads(table.schema.metadata[b"made_with"])["reference"]


def _count(
    table: pa.Table, reference: str, seeds: Sequence[int], margin: float | None, expected: dict[str, int]
) -> tuple[int, int, int, int, int]:
    rows = statistics.adaptive(table, METRIC, reference, rules.LOOKS, margin, seeds=seeds).to_pylist()
    opposite = beyond = missed = within = cells = 0
    for row in rows:
        cells += rules.LOOKS[row["look"] - 1]
        if row["variant"] == reference:
            continue
        wanted = expected[row["variant"]]
        sign = {"better": 1, "worse": -1}.get(row["verdict"], 0)
        opposite += sign * wanted < 0
        beyond += bool(sign and not wanted)
        missed += bool(wanted and not sign)
        within += row["verdict"] == "within margin"
    return opposite, beyond, missed, within, cells


def _sign(decided: bool, delta: float) -> int:
    return (1 if delta > 0 else -1) if decided else 0
