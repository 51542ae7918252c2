"""The cells that represent variants, and the variants that are shown."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from raysearch.core import UserError
from raysearch.inspection.cell_choice import MAX_VARIANTS, choose_cell, select_variants
from raysearch.runs import StudyRecord


def record(variants: Iterable[str] = "abc", **keys: Any) -> StudyRecord:
    """Return a record with these variants."""
    named = [{"name": name} for name in variants]
    return StudyRecord.model_validate(
        {"study": "s", "metric": "map", "reference": "a", "variants": named, "cells": []} | keys
    )


def rows(*values: float | None, variant: str = "a") -> list[dict[str, Any]]:
    common = {"variant": variant, "code_version": 4, "history": json.dumps([{}] * 3)}
    return [
        {
            **common,
            "cell": f"{variant}{seed}",
            "seed": seed,
            "map": value,
            "status": "failed" if value is None else "finished",
        }
        for seed, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "seed"), [([0.3, 0.1, 0.2], 2), ([0.3, 0.1, 0.2, 0.4], 2), ([0.5, 0.5, 0.5], 1), ([None, 0.1], 1)]
)
def test_the_median_seed_represents_the_variant(values: list[float | None], seed: int):
    cell = choose_cell(record(), rows(*values), "a")
    assert cell.seed == seed
    assert cell.value == values[seed]
    assert cell.seeds == tuple(index for index, value in enumerate(values) if value is not None)
    assert cell.steps == 3
    assert cell.is_reference


def test_a_seed_can_be_requested():
    assert choose_cell(record(), rows(0.3, 0.1, 0.2), "a", seed=0).cell == "a0"
    with pytest.raises(UserError, match=r"no finished cell with seed 3; choose one of 0, 2"):
        choose_cell(record(), rows(0.3, None, 0.2), "a", seed=3)
    with pytest.raises(UserError, match="variant 'b' has no finished cell"):
        choose_cell(record(), rows(0.3), "b")


def test_each_variant_comes_after_its_reference():
    study = record("abdc", references={"a": "a", "b": "a", "c": "c", "d": "c"})
    assert select_variants(study) == (["a", "b", "c", "d"], 0)
    assert select_variants(study, ["d"]) == (["c", "d"], 0)
    with pytest.raises(UserError, match="no variant 'srem'"):
        select_variants(study, ["srem"])


def test_a_large_ablation_shows_its_first_variants_and_a_search_its_best():
    numbers = [str(number) for number in range(30)]
    selected, left_out = select_variants(record(numbers, reference="0"))
    assert selected == [str(number) for number in range(MAX_VARIANTS)]
    assert left_out == 30 - MAX_VARIANTS
    search = record(numbers, reference="0", kind="search", best=[{"variant": "17"}, {"variant": None}])
    assert select_variants(search) == (["0", "17"], 0)
