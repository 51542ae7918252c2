"""A cell that may still represent its variant keeps its checkpoint: every way in which the others can end is tried."""

import itertools
import random
from typing import Any

import pytest

from raysearch.inspection.cell_choice import choose_cell, may_represent
from raysearch.runs import StudyRecord

RECORD = StudyRecord(study="s", metric="map", reference="a", variants=[], cells=[])


def row(seed: int, value: float | None) -> dict[str, Any]:
    status = "failed" if value is None else "finished"
    ended = {"variant": "a", "seed": seed, "cell": f"c{seed}", "status": status, "map": value}
    return ended | {"history": "[]", "code_version": 1}


@pytest.mark.parametrize("planned", range(1, 7))
def test_the_cells_that_may_be_chosen_are_those_that_some_end_chooses(planned: int) -> None:
    rng = random.Random(planned)
    values: list[float | None] = [float(value) for value in range(planned)]
    rng.shuffle(values)
    if planned > 3:
        values[0] = None  # a failed cell
    for ended in range(1, planned + 1):
        rows = [row(seed, value) for seed, value in enumerate(values[:ended])]
        levels = [value for value in values[:ended] if value is not None]
        # An end is a failure, or a value in one of the gaps between those that are known.
        gaps = [None, -1.0, *(level + 0.5 for level in levels)]
        chosen = set()
        for rest in itertools.product(gaps, repeat=planned - ended):
            full = rows + [row(ended + number, value) for number, value in enumerate(rest)]
            if any(other["map"] is not None for other in full):
                chosen.add(choose_cell(RECORD, full, "a").cell)
        known = {f"c{seed}" for seed in range(ended)}
        assert may_represent(RECORD, rows, "a", planned - ended) == chosen & known
