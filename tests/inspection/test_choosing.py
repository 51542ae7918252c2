"""Which cells are shown."""

import json
from typing import Any

import pytest

from raysearch.core.errors import UserError
from raysearch.inspection.choosing import MOST, choose, names

RECORD: dict[str, Any] = {"metric": "map", "reference": "a", "variants": [{"name": name} for name in "abc"]}


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
    chosen = choose(RECORD, rows(*values), "a")
    assert chosen.seed == seed
    assert chosen.value == values[seed]
    assert chosen.seeds == tuple(index for index, value in enumerate(values) if value is not None)
    assert chosen.steps == 3
    assert chosen.is_reference


def test_a_seed_can_be_asked_for():
    assert choose(RECORD, rows(0.3, 0.1, 0.2), "a", seed=0).cell == "a0"
    with pytest.raises(UserError, match=r"no finished cell with seed 3; it has 0, 2"):
        choose(RECORD, rows(0.3, None, 0.2), "a", seed=3)
    with pytest.raises(UserError, match="variant 'b' has no finished cell"):
        choose(RECORD, rows(0.3), "b")


def test_each_variant_comes_after_its_reference():
    record = RECORD | {"references": {"a": "a", "b": "a", "c": "c", "d": "c"}}
    record["variants"] = [{"name": name} for name in "abdc"]
    assert names(record) == (["a", "b", "c", "d"], 0)
    assert names(record, ["d"]) == (["c", "d"], 0)
    with pytest.raises(UserError, match="no variant 'srem'"):
        names(record, ["srem"])


def test_a_large_study_shows_its_first_variants_and_a_search_its_best():
    record = RECORD | {"variants": [{"name": str(number)} for number in range(30)], "reference": "0"}
    shown, left_out = names(record)
    assert shown == [str(number) for number in range(MOST)]
    assert left_out == 30 - MOST
    search = record | {"kind": "search", "best": [{"variant": "17"}, {"variant": None}]}
    assert names(search) == (["0", "17"], 0)
