"""The plan on several data sets: the cells of studies on one set each, in one family of comparisons."""

import time
from dataclasses import replace

import pytest

from raysearch.core import UserError
from raysearch.studies.design import Ablation, PlanRequest, choice, factor, join_plans, plan_ablation, plan_study
from search_spaces import fcaenet_table1

STUDY = Ablation(
    "How long?",
    "retrieval",
    {"hash.method": "adsh", "hash.bits": 24},
    [choice("method", {"ADSH": {"hash.method": "adsh"}, "LSH": {"hash.method": "lsh"}}), factor("hash.bits", 12, 24)],
    design="full",
    within=("hash.bits",),
    seeds=2,
)
HASHES = {"CUB": "a" * 64, "Aircraft": "b" * 64, "Dogs": "c" * 64}


def _part(content_hash: str, **changes: object):
    return plan_ablation("s", replace(STUDY, **changes), "laptop", content_hash)


def test_cells_are_those_of_the_studies_on_each_set() -> None:
    parts = {name: _part(content_hash) for name, content_hash in HASHES.items()}
    joined = join_plans(parts)
    assert {cell.hash for cell in joined.cells} == {cell.hash for part in parts.values() for cell in part.cells}
    assert len(joined.cells) == 3 * 4 * 2
    assert {(cell.variant.data_set, cell.variant.name.partition(", ")[0]) for cell in joined.cells} == {
        (name, name) for name in HASHES
    }


def test_variants_are_compared_on_their_set_and_all_are_one_family() -> None:
    joined = join_plans({name: _part(content_hash) for name, content_hash in HASHES.items()})
    assert joined.comparisons == 3 * 2
    for variant, other in joined.references.items():
        assert variant.partition(", ")[0] == other.partition(", ")[0]
    assert joined.reference.name == "CUB, ADSH"


def test_a_part_of_the_study_is_corrected_for_the_whole() -> None:
    request = PlanRequest("s", "laptop", only={"hash.bits": ["12"]})
    part = plan_study(STUDY, request)
    joined = join_plans({name: part.for_data(content_hash) for name, content_hash in HASHES.items()})
    assert len(joined.cells) == 3 * 2 * 2
    assert joined.comparisons == 3 * 2


def test_a_stopped_study_has_whole_rows_of_its_table() -> None:
    joined = join_plans({name: _part(content_hash) for name, content_hash in HASHES.items()})
    first = [cell.variant.name for cell in joined.cells[:6]]
    assert [name.partition(", ")[2] for name in first] == [first[0].partition(", ")[2]] * 3 + [
        first[3].partition(", ")[2]
    ] * 3
    assert [cell.seed for cell in joined.cells] == sorted(cell.seed for cell in joined.cells)


def test_cells_of_earlier_calls_join_on_their_own_sets() -> None:
    fewer = join_plans({name: _part(content_hash, seeds=1) for name, content_hash in HASHES.items()})
    more = join_plans({name: _part(content_hash) for name, content_hash in HASHES.items()})
    earlier = [cell.hash for cell in more.cells if cell.seed == 1 and cell.variant.data_set == "Dogs"]
    wider = fewer.with_cells_of(earlier, [0, 1])
    assert {cell.hash for cell in wider.cells} == {cell.hash for cell in fewer.cells} | set(earlier)


def test_names_of_sets_are_checked_with_the_study() -> None:
    with pytest.raises(UserError, match="no name of a data set"):
        replace(STUDY, data={"a,b": "shards"})
    with pytest.raises(UserError, match="differ only in case"):
        replace(STUDY, data={"CUB": "shards", "cub": "others"})
    with pytest.raises(UserError, match="several data sets"):
        replace(STUDY, data="shards")
    assert replace(STUDY, data={"CUB": "shards/cub", "drawn": None}).data == {"CUB": "shards/cub", "drawn": None}


def test_a_table_of_thirteen_hundred_cells_is_planned_in_seconds() -> None:
    request = PlanRequest("table1", "laptop")
    started = time.process_time()
    part = plan_study(fcaenet_table1.study, request)
    joined = join_plans({f"set {number}": part.for_data(f"{number}" * 64) for number in range(6)})
    assert len(joined.cells) == 11 * 4 * 6 * 5
    assert time.process_time() - started < 5
