"""Which variants a look can hardly decide, by the cells that have ended so far."""

import random

import pyarrow as pa
import pytest
from scipy import stats

from raysearch.studies.analysis.open_comparisons import likely_undecided

REFERENCES = {"large": "reference", "small": "reference", "none": "reference"}
EFFECTS = {"reference": 0.0, "large": 0.5, "small": 0.02, "none": 0.0}


def table(seeds: int, without: str = "") -> pa.Table:
    rows = [
        {
            "variant": name,
            "seed": seed,
            "status": "finished",
            "score": effect + random.Random(f"{name} {seed}").gauss(0, 0.02),
        }
        for seed in range(seeds)
        for name, effect in EFFECTS.items()
        if name != without
    ]
    return pa.Table.from_pylist(rows) if rows else pa.table({"variant": [], "seed": [], "status": []})


def test_a_variant_that_is_as_good_as_decided_gets_no_early_cells() -> None:
    hard = likely_undecided(table(5), "score", REFERENCES, range(5), weight=0.2)
    assert hard == ["none", "small"], "the largest p-value first"


@pytest.mark.parametrize("name", REFERENCES)
def test_a_look_with_a_smaller_share_of_the_level_decides_less(name: str) -> None:
    cells = table(5)
    values = {key: [row["score"] for row in cells.to_pylist() if row["variant"] == key] for key in EFFECTS}
    share = stats.ttest_rel(values[name], values["reference"]).pvalue / 0.05
    for weight, is_open in ((0.99 * share, True), (1.01 * share, False)):
        assert (name in likely_undecided(cells, "score", REFERENCES, range(5), weight)) == is_open


def test_seeds_of_later_looks_do_not_count() -> None:
    assert likely_undecided(table(5), "score", REFERENCES, range(2), weight=0.2) == list(REFERENCES)


@pytest.mark.parametrize(("seeds", "without"), [(0, ""), (2, ""), (5, "reference")])
def test_without_a_test_every_variant_is_open(seeds: int, without: str) -> None:
    assert likely_undecided(table(seeds, without), "score", REFERENCES, range(5), weight=0.2) == list(REFERENCES)


def test_a_variant_inside_the_margin_will_end() -> None:
    assert likely_undecided(table(5), "score", REFERENCES, range(5), weight=0.2, margin=0.2) == []
