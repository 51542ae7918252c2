"""Which cells are shown."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from raysearch.core.errors import UserError
from raysearch.inspection.choosing import MOST, choose, names
from raysearch.runs.study_record import StudyRecord


def record(variants: Iterable[str] = "abc", **keys: Any) -> StudyRecord:
    """A record with these variants."""
    named = [{"name": name} for name in variants]
    return StudyRecord.model_validate(
        {"study": "s", "metric": "map", "reference": "a", "variants": named, "cells": []} | keys
    )


def rows(*values: float | None, variant: str = "a") -> list[dict[str, Any]]:
    kinds = [
        {"seed": seed, "map": value, "status": "failed" if value is None else "finished"}
        for seed, value in enumerate(values)
    ]
    same = {"variant": variant, "code_version": 4, "history": json.dumps([{}] * 3)}
    return [same | one | {"cell": f"{variant}{one['seed']}"} for one in kinds]


@pytest.mark.parametrize(
    ("values", "seed"), [([0.3, 0.1, 0.2], 2), ([0.3, 0.1, 0.2, 0.4], 2), ([0.5, 0.5, 0.5], 1), ([None, 0.1], 1)]
)
def test_the_median_seed_stands_for_the_variant(values: list[float | None], seed: int):
    chosen = choose(record(), rows(*values), "a")
    assert chosen.seed == seed
    assert chosen.value == values[seed]
    assert chosen.seeds == tuple(index for index, value in enumerate(values) if value is not None)
    assert chosen.steps == 3
    assert chosen.is_reference


def test_a_seed_can_be_asked_for():
    assert choose(record(), rows(0.3, 0.1, 0.2), "a", seed=0).cell == "a0"
    with pytest.raises(UserError, match=r"no finished cell with seed 3; it has 0, 2"):
        choose(record(), rows(0.3, None, 0.2), "a", seed=3)
    with pytest.raises(UserError, match="variant 'b' has no finished cell"):
        choose(record(), rows(0.3), "b")


def test_each_variant_comes_after_its_reference():
    study = record("abdc", references={"a": "a", "b": "a", "c": "c", "d": "c"})
    assert names(study) == (["a", "b", "c", "d"], 0)
    assert names(study, ["d"]) == (["c", "d"], 0)
    with pytest.raises(UserError, match="no variant 'srem'"):
        names(study, ["srem"])


def test_a_large_study_shows_its_first_variants_and_a_search_its_best():
    numbers = [str(number) for number in range(30)]
    shown, left_out = names(record(numbers, reference="0"))
    assert shown == [str(number) for number in range(MOST)]
    assert left_out == 30 - MOST
    search = record(numbers, reference="0", kind="search", best=[{"variant": "17"}, {"variant": None}])
    assert names(search) == (["0", "17"], 0)
