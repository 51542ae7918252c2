"""Comparisons by hand numbers, by scipy's own paired test, and over simulated studies with and without an effect."""

import json
import math
import random
import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import stats

from raysearch.core import UserError
from raysearch.studies.analysis import compare, holm, interval


def results(values: dict[str, list[float | None]], **columns: Any) -> pa.Table:
    """A row a cell; None is a failed one."""
    rows = [
        {
            "variant": name,
            "seed": seed,
            "status": "failed" if value is None else "finished",
            "config": name,
            "metric_ids": json.dumps({"map": "map@all/expected-ties/test"}),
            "map": value,
        }
        for name, numbers in values.items()
        for seed, value in enumerate(numbers)
    ]
    rows = [row | {key: change(row) for key, change in columns.items()} for row in rows]
    return pa.Table.from_pylist(rows)


def by_name(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["variant"]: row for row in compare(table, "map", "reference").to_pylist()}


def test_paired_t_by_hand():
    # differences 0.01, 0.02, 0.03: standard error 0.01 / sqrt(3), t = 3.4641 with 2 degrees of freedom
    row = by_name(results({"reference": [0.5, 0.7, 0.6], "a": [0.51, 0.72, 0.63]}))["a"]
    assert row["delta"] == pytest.approx(0.02)
    assert row["delta_low"] == pytest.approx(0.02 - 4.302653 * 0.01 / math.sqrt(3), abs=1e-8)
    assert row["delta_high"] == pytest.approx(0.02 + 4.302653 * 0.01 / math.sqrt(3), abs=1e-8)
    assert row["p"] == pytest.approx(0.07418, abs=1e-5)
    assert row["p_holm"] == row["p"]
    assert row["decided"] is False


def test_agrees_with_scipy_on_random_numbers():
    rng = random.Random(1)
    values, reference = ([rng.gauss(0.6, 0.05) for _ in range(7)] for _ in range(2))
    row = by_name(results({"reference": reference, "a": values}))["a"]
    expected = stats.ttest_rel(values, reference)
    assert row["p"] == pytest.approx(expected.pvalue)
    assert (row["delta_low"], row["delta_high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    mean = stats.t.interval(0.95, 6, loc=stats.tmean(values), scale=stats.sem(values))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(mean)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([None, 0.02]) == [None, 0.02]
    assert holm([]) == []


def test_pairs_only_seeds_that_both_finished_and_counts_the_failed():
    # the failed seed is the reference's worst: an unpaired difference would be -0.1
    rows = by_name(results({"reference": [0.5, 0.6, 0.1], "a": [0.5, 0.6, None]}))
    assert rows["a"]["delta"] == 0
    assert (rows["a"]["seeds"], rows["a"]["failed"]) == (2, 1)
    assert rows["reference"]["mean"] == pytest.approx(0.4)
    rows = by_name(results({"reference": [0.5, None, 0.1], "a": [0.6, 0.9, 0.2]}))
    assert rows["a"]["delta"] == pytest.approx(0.1)
    assert (rows["a"]["seeds"], rows["reference"]["failed"]) == (3, 1)


def test_a_variant_that_failed_altogether_keeps_its_row():
    row = by_name(results({"reference": [0.5, 0.6], "a": [None, None], "b": [0.7, 0.9]}))["a"]
    assert (row["seeds"], row["failed"], row["mean"], row["delta"], row["p"]) == (0, 2, None, None, None)
    assert row["decided"] is False


def test_a_metric_that_is_no_number_counts_as_failed():
    row = by_name(results({"reference": [0.5, 0.6, 0.7], "a": [0.6, math.nan, 0.9]}))["a"]
    assert (row["seeds"], row["failed"]) == (2, 1)
    assert row["mean"] == pytest.approx(0.75)


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_decide_nothing_and_say_why(seeds: int):
    # the same large difference with every seed: two of them would have had p = 0
    row = by_name(results({"reference": [0.5, 0.6][:seeds], "a": [0.9, 1.0][:seeds]}))["a"]
    assert row["delta"] == pytest.approx(0.4)
    assert (row["delta_low"], row["ci_low"], row["p"], row["p_holm"], row["decided"]) == (None, None, None, None, False)
    assert row["refused"] == {1: "1 seed: an interval needs three", 2: "2 seeds: an interval needs three"}[seeds]
    assert interval([0.5, 0.7][:seeds]) == (None, None)


def test_a_difference_needs_three_seeds_in_common():
    rows = by_name(results({"reference": [0.5, 0.6, 0.7, None], "a": [0.9, 1.0, None, 1.1], "b": [0.9, 1.0, 1.2, 1.1]}))
    assert rows["reference"]["refused"] is None
    assert rows["reference"]["ci_low"] is not None
    # three finished cells have a mean with an interval; two of them have a partner
    assert (rows["a"]["seeds"], rows["a"]["delta_low"], rows["a"]["decided"]) == (3, None, False)
    assert rows["a"]["ci_low"] is not None
    assert rows["a"]["refused"] == "2 seeds: an interval needs three"
    assert rows["b"]["refused"] is None
    assert rows["b"]["p_holm"] == rows["b"]["p"], "a refused comparison is no member of the family"


def test_equal_numbers_are_no_difference_even_when_rounding_says_so():
    values = [0.5, 0.6, 0.7]
    rounded = [value * (1 + 2e-16) + 1e-16 for value in values]
    for same in (values, rounded):
        row = by_name(results({"reference": values, "a": same}))["a"]
        assert (row["delta"], row["p"], row["decided"]) == (0.0, 1.0, False)


def test_refuses_what_must_not_be_compared():
    values: dict[str, list[float | None]] = {"reference": [0.5, 0.6], "a": [0.5, 0.7]}
    with pytest.raises(UserError, match="mixes 2 configs"):
        compare(results(values, config=lambda row: str(row["seed"])), "map", "reference")
    ids = {"reference": "map@all/expected-ties/test", "a": "map@1000/index-ties/test"}
    mixed = results(values, metric_ids=lambda row: json.dumps({"map": ids[row["variant"]]}))
    with pytest.raises(UserError, match=r"several definitions.*map@1000"):
        compare(mixed, "map", "reference")
    with pytest.raises(UserError, match="twice"):
        compare(results(values, seed=lambda row: 0), "map", "reference")
    with pytest.raises(UserError, match="did you mean 'reference'"):
        compare(results(values), "map", "referenc")
    with pytest.raises(UserError, match="no metric 'mapp'"):
        compare(results(values), "mapp", "reference")


def test_blocks_may_have_a_definition_each():
    values: dict[str, list[float | None]] = {name: [0.5, 0.6, 0.7] for name in ("one", "a", "five", "b")}
    ids = {name: f"accuracy@5-way-{shots}-shot" for name, shots in {"one": 1, "a": 1, "five": 5, "b": 5}.items()}
    table = results(values, metric_ids=lambda row: json.dumps({"map": ids[row["variant"]]}))
    blocks = {"one": "one", "a": "one", "five": "five", "b": "five"}
    assert compare(table, "map", blocks).num_rows == 4
    with pytest.raises(UserError, match="several definitions"):
        compare(table, "map", blocks | {"b": "one"})


def test_a_metric_of_words_or_with_a_damaged_definition_is_refused():
    values: dict[str, list[float | None]] = {"reference": [0.5, 0.6], "a": [0.5, 0.7]}
    with pytest.raises(UserError, match="is not a number"):
        compare(results(values, map=lambda row: "high"), "map", "reference")
    for damaged in ("{", "[1]", "[" * 100_000):
        with pytest.raises(UserError, match="cannot be read"):
            compare(results(values, metric_ids=lambda row, text=damaged: text), "map", "reference")


def simulate(rng: random.Random, effects: list[float]) -> list[dict[str, Any]]:
    """A study of five seeds: every seed has a level, every cell a noise of its own."""
    levels = [rng.gauss(0.6, 0.03) for _ in range(5)]
    names = {"reference": 0.0} | {f"v{index}": effect for index, effect in enumerate(effects)}
    table = results(
        {name: [level + effect + rng.gauss(0, 0.005) for level in levels] for name, effect in names.items()}
    )
    return compare(table, "map", "reference").to_pylist()[1:]


def test_family_wise_error_under_the_null():
    rng = random.Random(7)
    wrong = sum(any(row["decided"] for row in simulate(rng, [0.0] * 7)) for _ in range(400))
    assert wrong <= 20 + 2 * math.sqrt(400 * 0.05 * 0.95)  # 5 % and two standard errors


def test_a_planted_effect_is_recovered():
    rng = random.Random(8)
    studies = [simulate(rng, [0.03, 0.0, -0.03]) for _ in range(100)]
    assert sum(study[0]["decided"] and study[0]["delta"] > 0 for study in studies) >= 95
    assert sum(study[2]["decided"] and study[2]["delta"] < 0 for study in studies) >= 95
    covered = sum(study[0]["delta_low"] <= 0.03 <= study[0]["delta_high"] for study in studies)
    assert 88 <= covered <= 100  # a 95 % interval, two to three standard errors


@pytest.mark.parametrize(("variants", "seeds"), [(2000, 5), (100, 100), (10000, 1)])
def test_ten_thousand_cells_are_compared_in_the_time_of_a_few(variants: int, seeds: int):
    rng = random.Random(9)
    names = ["reference", *(f"v{index}" for index in range(variants - 1))]
    table = results({name: [rng.gauss(0.6, 0.02) for _ in range(seeds)] for name in names})
    started = time.process_time()
    compared = compare(table, "map", "reference").to_pylist()
    assert time.process_time() - started < 4  # a pass over all rows for every variant would take many times that
    assert [row["variant"] for row in compared] == names
    # any one of them is what it is in a table of its own
    row = compared[variants // 2]
    alone = f"v{variants // 2 - 1}"
    pair = compare(table.filter(pc.is_in(table["variant"], pa.array(["reference", alone]))), "map", "reference")
    same = ("seeds", "mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "p")
    assert {name: row[name] for name in same} == {name: pair.to_pylist()[1][name] for name in same}
