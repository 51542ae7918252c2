"""Verdicts on metrics that change in steps: no effect must decide nothing in 95 of 100 studies, however coarse it is.

`rule` is a second writing in numpy, over many studies at once. It is held against `compare` on single studies, and then
simulated over the grid. The bounds on counts are binomial at 1 in 10,000, since the grid has many corners.
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from raysearch.runs import StudyRecord, results
from raysearch.studies.analysis import compare, differences, metric_step
from raysearch.studies.analysis.resolution import common_step, stated_step

NOISES = (0.3, 0.7, 1.5, 5.0, 30.0)  # standard deviations of a cell in steps; the worst are below two steps
QUICK = [(5, 3, 50), (40, 3, 100), (20, 3, 2000), (10, 5, 500), (40, 20, 50), (5, 8, 10_000)]
GRID = [
    (variants, seeds, items)
    for variants in (5, 10, 20, 40)
    for seeds in (3, 4, 5, 8, 20)
    for items in (50, 100, 500, 2000, 10_000)
]


def table_of(values: np.ndarray, **columns: Any) -> pa.Table:
    """A study of values (variants, seeds), the first variant being the reference."""
    rows = [
        {"variant": f"v{index}", "seed": seed, "status": "finished", "config": str(index), "score": float(value)}
        for index, numbers in enumerate(values)
        for seed, value in enumerate(numbers)
    ]
    return pa.Table.from_pylist([row | columns for row in rows])


def rule(values: np.ndarray, items: int) -> np.ndarray:
    """P-values (studies, variants - 1) of accuracies (studies, variants, seeds) on n items, without a correction."""
    seeds = values.shape[-1]
    difference = values[:, 1:] - values[:, :1]
    error = np.sqrt((difference.var(-1, ddof=1) + 1 / (6 * items**2)) / seeds)
    p = 2 * stats.t.sf(np.abs(difference.mean(-1)) / error, seeds - 1)
    return np.where(np.ptp(difference, -1) < 0.5 / items, 1.0, p)


def drawn(rng: np.random.Generator, variants: int, seeds: int, items: int, noise: float, studies: int) -> np.ndarray:
    """Accuracies without any effect: a seed's level, a cell's noise in steps, rounded to whole items."""
    level = 0.7 * items + rng.normal(0, 5, (studies, 1, seeds)) + rng.random((studies, 1, 1))
    right = np.rint(level + rng.normal(0, noise, (studies, variants, seeds)))
    return np.clip(right, 0, items) / items


def binomial(rng: np.random.Generator, variants: int, seeds: int, items: int, studies: int) -> np.ndarray:
    """Accuracies of variants that are equally good, and right about each item by themselves."""
    chance = rng.uniform(0.5, 0.98, (studies, 1, seeds))
    return rng.binomial(items, np.broadcast_to(chance, (studies, variants, seeds))) / items


def share_that_decides(values: np.ndarray, items: int) -> float:
    """Share of studies with any verdict: Holm decides something where the smallest p passes Bonferroni."""
    p = rule(values, items)
    return float((p.min(1) <= 0.05 / p.shape[1]).mean())


def most(studies: int) -> float:
    return float(stats.binom.ppf(0.9999, studies, 0.05) / studies)


@pytest.mark.parametrize(("variants", "seeds", "items"), [(5, 3, 50), (8, 5, 100), (4, 4, 2000), (12, 3, 10_000)])
@pytest.mark.parametrize("stated", [True, False])
def test_compare_follows_the_rule(variants: int, seeds: int, items: int, stated: bool) -> None:
    rng = np.random.default_rng(variants)
    columns = {"metric_steps": json.dumps({"score": 1 / items})} if stated else {}
    for noise in (0.7, 3.0):
        (values,) = drawn(rng, variants, seeds, items, noise, 1)
        expected = rule(values[None], items)[0]
        rows = compare(table_of(values, **columns), "score", "v0").to_pylist()[1:]
        assert [row["p"] for row in rows] == pytest.approx(expected.tolist(), rel=1e-6)
        assert [row["decided"] for row in rows] == [row["p_holm"] <= 0.05 for row in rows]
        for row, p in zip(rows, expected, strict=True):
            assert (row["delta_low"] is None) == (p == 1.0 and row["refused"] is not None)


@pytest.mark.parametrize(("variants", "seeds", "items"), QUICK)
def test_no_effect_decides_one_study_in_twenty_at_most(variants: int, seeds: int, items: int) -> None:
    simulate_grid(variants, seeds, items, studies=1500)


@pytest.mark.slow
@pytest.mark.parametrize(("variants", "seeds", "items"), GRID)
def test_no_effect_decides_one_study_in_twenty_at_most_anywhere(variants: int, seeds: int, items: int) -> None:
    simulate_grid(variants, seeds, items, studies=5000)


def simulate_grid(variants: int, seeds: int, items: int, studies: int) -> None:
    rng = np.random.default_rng(variants * seeds + items)
    shares = {
        noise: share_that_decides(drawn(rng, variants, seeds, items, noise, studies), items) for noise in NOISES
    } | {"binomial": share_that_decides(binomial(rng, variants, seeds, items, studies), items)}
    print(f"{variants} variants, {seeds} seeds, {items} items: {shares}")
    assert max(shares.values()) <= most(studies)


def test_compare_itself_decides_nothing_too_often() -> None:
    # where the plain paired test decided something in a third of all studies; the step is read off the values
    rng = np.random.default_rng(3)
    studies = 200
    decided = sum(
        any(compare(table_of(values), "score", "v0")["decided"].to_pylist()[1:])
        for values in drawn(rng, 21, 3, 100, 0.7, studies)
    )
    assert decided <= stats.binom.ppf(0.9999, studies, 0.05)


@pytest.mark.parametrize("ratio", [2.0, 3.0, 5.0])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_at_a_fine_resolution_the_power_is_that_of_the_paired_test(ratio: float, seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    items = 10_000
    noise = 0.005
    studies = 4000
    values = 0.7 + rng.normal(0, 0.03, (studies, 1, seeds)) + rng.normal(0, noise, (studies, 2, seeds))
    values[:, 1] += ratio * noise * (2 / seeds) ** 0.5
    values = np.rint(values * items) / items
    plain = stats.ttest_rel(values[:, 1], values[:, 0], axis=1).pvalue <= 0.05
    careful = rule(values, items)[:, 0] <= 0.05
    print(f"{ratio} standard errors, {seeds} seeds: {careful.mean():.3f} of {plain.mean():.3f}")
    assert careful.mean() >= plain.mean() - 0.002
    theory = stats.nct.sf(stats.t.ppf(0.975, seeds - 1), seeds - 1, ratio)
    assert abs(careful.mean() - theory) < 0.03


EQUAL = {
    "three seeds, three items": [[0.60, 0.62, 0.61], [0.63, 0.65, 0.64]],
    "percent": [[60.0, 62.0, 61.0], [63.0, 65.0, 64.0]],
    "twenty seeds": [[0.5 + 0.01 * seed for seed in range(20)], [0.6 + 0.01 * seed for seed in range(20)]],
    "constant": [[0.5, 0.5, 0.5], [0.9, 0.9, 0.9]],
    "single precision": [
        [float(np.float32(v)) for v in (0.1, 0.7, 0.3)],
        [float(np.float32(v)) for v in (0.2, 0.8, 0.4)],
    ],
    "a negative metric": [[-1.25, -1.5, -1.75], [-1.0, -1.25, -1.5]],
    "rounding in the last digits": [[0.1, 0.2, 0.3], [0.4 + 1e-16, 0.5, 0.6 - 1e-16]],
}


@pytest.mark.parametrize("name", EQUAL)
@pytest.mark.parametrize("stated", [None, 0.01, 1e-6])
def test_equal_differences_decide_nothing_and_have_no_interval(name: str, stated: float | None) -> None:
    columns = {} if stated is None else {"metric_steps": json.dumps({"score": stated})}
    row = compare(table_of(np.array(EQUAL[name]), **columns), "score", "v0").to_pylist()[1]
    assert (row["decided"], row["p"], row["delta_low"], row["delta_high"]) == (False, 1.0, None, None)
    assert row["delta"] == pytest.approx(EQUAL[name][1][0] - EQUAL[name][0][0])
    assert "the same difference with all" in row["refused"]


def test_values_that_equal_the_reference_have_no_interval_either() -> None:
    row = compare(table_of(np.array([[0.5, 0.6, 0.7]] * 2)), "score", "v0").to_pylist()[1]
    assert (row["delta"], row["p"], row["decided"], row["delta_low"]) == (0.0, 1.0, False, None)
    assert row["refused"] == "the same value as the reference with all 3 seeds"


def test_a_mean_of_equal_values_has_no_interval() -> None:
    rows = compare(table_of(np.array([[0.5, 0.5, 0.5], [0.6, 0.7, 0.9]])), "score", "v0").to_pylist()
    assert (rows[0]["ci_low"], rows[0]["ci_high"]) == (None, None)
    assert rows[1]["ci_low"] is not None
    assert rows[1]["delta_low"] is not None, "a reference without noise is compared by the noise of the variant"


def test_comparisons_without_a_spread_count_in_the_family() -> None:
    values = np.array([[0.60, 0.62, 0.61], [0.63, 0.65, 0.64], [0.70, 0.733, 0.721]])
    rows = compare(table_of(values), "score", "v0").to_pylist()
    assert rows[2]["p_holm"] == pytest.approx(2 * rows[2]["p"])


@pytest.mark.parametrize("items", [50, 77, 333, 2000, 9999, 10_000])
@pytest.mark.parametrize("change", [float, lambda v: 100 * v, lambda v: float(np.float32(v)), lambda v: v - 1])
def test_the_step_is_read_off_the_values(items: int, change: Any) -> None:
    rng = np.random.default_rng(items)
    values = [change(count / items) for count in rng.binomial(items, 0.7, 18).tolist()]
    step = change(1 / items) - change(0.0)
    found = common_step(values)
    # fine steps of percentages cannot be told from single precision; the step is never below the true one
    assert found == 0.0 or found / step == pytest.approx(max(1, round(found / step)), rel=1e-3)
    assert found or (items > 600 and abs(values[0]) > 1)


def test_numbers_without_a_step_have_none() -> None:
    rng = np.random.default_rng(0)
    assert all(common_step(rng.normal(0.6, 0.05, number).tolist()) == 0.0 for number in (10, 18, 100, 5000))
    assert common_step([0.5, 0.6, 0.7]) == 0.0, "three numbers may have one decimal by chance"
    assert common_step([0.5] * 20) == 0.0
    assert common_step([]) == 0.0


def test_the_cells_state_the_step() -> None:
    fewshot = {"accuracy": "accuracy@5-way-1-shot-15-query/600-episodes-of-seed-0/own-1a2b/test"}
    rows = [{"metric_ids": json.dumps(fewshot)}, {"metric_steps": json.dumps({"map": 0.01})}, {"metric_steps": "[1"}]
    assert stated_step(rows, "accuracy") == pytest.approx(1 / (600 * 75))
    assert stated_step(rows, "map") == 0.01
    assert stated_step(rows, "loss") is None
    assert metric_step([{"status": "failed"}, {"status": "finished"}], "map") == 0.0
    coarse = rows[1] | {"status": "finished", "map": 0.5}
    assert metric_step([coarse, coarse | {"metric_steps": json.dumps({"map": 0.02})}], "map") == 0.02


@pytest.mark.parametrize("seeds", [(3, 3), (3, 20), (5, 8)])
@pytest.mark.parametrize("noise", [(0.3, 0.5), (0.7, 0.7), (5.0, 1.0)])
def test_runs_without_common_seeds_decide_nothing_too_often(seeds: tuple[int, int], noise: tuple[float, float]) -> None:
    rng = np.random.default_rng(sum(seeds))
    studies = 150
    items = 100
    decided = 0
    for _ in range(studies):
        level = 0.7 * items + rng.random()
        pairs = []
        for _ in range(20):
            first, second = (
                dict(enumerate(np.rint(level + rng.normal(0, sd, number)) / items, start=100 * index))
                for index, (number, sd) in enumerate(zip(seeds, noise, strict=True))
            )
            pairs.append((first, second))
        decided += any(difference.decided for difference in differences(pairs, [1 / items] * len(pairs)))
    assert decided <= stats.binom.ppf(0.9999, studies, 0.05)


def test_a_part_of_a_study_is_corrected_over_all_of_it() -> None:
    values = np.array([[0.601, 0.622, 0.613], [0.6311, 0.6422, 0.6413], [0.6, 0.61, 0.64]])
    table = table_of(values)
    own = compare(table, "score", "v0").to_pylist()
    whole = compare(table, "score", "v0", comparisons=7).to_pylist()
    assert [row["p"] for row in own] == [row["p"] for row in whole]
    assert whole[1]["p_holm"] == pytest.approx(7 * own[1]["p"])
    assert whole[2]["p_holm"] == pytest.approx(max(whole[1]["p_holm"], min(1, 6 * own[2]["p"])))
    assert (own[1]["decided"], whole[1]["decided"]) == (True, False)


def test_the_results_of_a_run_carry_the_number_of_the_studys_comparisons() -> None:
    values = np.array([[0.601, 0.622, 0.613], [0.63, 0.6504, 0.6438]])
    rows = table_of(values).to_pylist()
    cells = [{"cell": f"c{index}", "variant": row["variant"], "seed": row["seed"]} for index, row in enumerate(rows)]
    record = {"study": "s", "variants": [], "cells": cells}
    ended = {f"c{index}": row | {"cell": f"c{index}"} for index, row in enumerate(rows)}
    for comparisons, family in ((None, 1), (7, 7)):
        study = StudyRecord.model_validate(record | ({} if comparisons is None else {"comparisons": comparisons}))
        row = compare(results.table(study, ended), "score", "v0").to_pylist()[1]
        assert row["p_holm"] == pytest.approx(family * row["p"])
