"""The power of paired comparisons: published numbers, scipy's noncentral t, and simulated studies."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from raysearch.core import UserError
from raysearch.studies.analysis import power


@pytest.mark.parametrize(
    ("effect", "seeds", "published"),
    [
        (0.4216370, 50, 0.8321138),  # G*Power 3.1, manual, two dependent means
        (1.0, 10, 0.8030970),  # R: power.t.test(n = 10, delta = 1, sd = 1, type = "paired")
    ],
)
def test_power_has_published_values(effect: float, seeds: int, published: float):
    assert power.power_of(effect, 1.0, seeds) == pytest.approx(published, abs=2e-6)


@pytest.mark.parametrize("seeds", [3, 5, 20, 200])
@pytest.mark.parametrize("comparisons", [1, 7])
def test_the_smallest_effect_is_found_with_the_power(seeds: int, comparisons: int):
    effect = power.smallest_effect(0.02, seeds, 0.9, comparisons)
    critical = stats.t.ppf(1 - 0.025 / comparisons, seeds - 1)
    assert stats.nct.sf(critical, seeds - 1, effect / 0.02 * seeds**0.5) == pytest.approx(0.9, abs=1e-5)


def test_seeds_are_the_fewest_that_suffice():
    for effect in (0.004, 0.01, 0.1, -0.01):
        seeds = power.seeds_for(effect, 0.02, comparisons=3)
        assert power.power_of(effect, 0.02, seeds, 3) >= 0.8
        if seeds > 3:
            assert power.power_of(effect, 0.02, seeds - 1, 3) < 0.8
    assert power.seeds_for(0.1, 0.02) == 3
    assert power.seeds_for(1e-9, 0.02) is None


def test_simulated_studies_find_the_smallest_effect_four_times_in_five():
    effect = power.smallest_effect(1.0, 6)
    differences = np.random.default_rng(0).normal(effect, 1.0, (20_000, 6))
    test = stats.ttest_1samp(differences, 0.0, axis=1)
    share = np.mean((test.pvalue <= 0.05) & (test.statistic > 0))
    assert share == pytest.approx(0.8, abs=0.01)


def test_the_spread_is_pooled_over_comparisons_by_their_degrees_of_freedom():
    values = {"r": [0.1, 0.4, 0.2], "a": [0.2, 0.4, 0.5], "b": [0.3, 0.3, None]}
    rows = [
        {"variant": name, "seed": seed, "status": "finished" if value else "failed", "map": value}
        for name, numbers in values.items()
        for seed, value in enumerate(numbers)
    ]
    expected = (2 * np.var([0.1, 0.0, 0.3], ddof=1) + np.var([0.2, -0.1], ddof=1)) / 3
    table = pa.Table.from_pylist(rows)
    assert power.paired_spread(table, "map", "r") == pytest.approx(expected**0.5)
    assert power.paired_spread(table, "map", {"r": "r", "a": "r", "b": "r", "planned": "r"}) is not None
    stepped = table.append_column("metric_steps", pa.array(['{"map": 0.6}'] * len(rows)))
    assert power.paired_spread(stepped, "map", "r") == pytest.approx((expected + 0.06) ** 0.5)
    assert power.paired_spread(table.filter(pa.compute.equal(table["seed"], 0)), "map", "r") is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power.smallest_effect(0.0, 5), "a spread is above 0, not 0.0"),
        (lambda: power.smallest_effect(0.1, 2), "2 seeds find nothing"),
        (lambda: power.smallest_effect(0.1, 5, power=1.0), "a power is between 0.05 and 1"),
        (lambda: power.seeds_for(0.0, 0.1), "an effect is a difference of the metric that is not 0"),
        (lambda: power.seeds_for(0.1, 0.1, comparisons=0), "at least 1 comparison"),
    ],
)
def test_what_cannot_be_planned_is_an_error(call, message: str):
    with pytest.raises(UserError, match=message):
        call()
