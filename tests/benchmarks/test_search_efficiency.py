"""The benchmark's charges, intervals and ratios, and that a search repeats itself."""

import numpy as np
import pytest
import search_efficiency as benchmark
from recorded import replay, retrieval_grid

GRID = replay.read_grid(retrieval_grid.PATH, seed=0)


def outcome(trials, epochs, reached=True):
    return replay.Outcome(reached, trials, epochs, seconds=1.0, suggestions=trials)


def test_a_search_that_missed_is_charged_the_grid():
    outcomes = [outcome(10, 90), outcome(200, 400, reached=False)]
    assert benchmark.charge_searches(outcomes, GRID, "trials").tolist() == [10, 216]
    assert benchmark.charge_searches(outcomes, GRID, "epochs").tolist() == [90, 216 * 9]


def test_an_interval_like_a_plain_bootstrap():
    rng = np.random.default_rng(3)
    values = rng.gamma(2.0, 30.0, 50)
    value, low, high = benchmark.interval((values,), np.mean)
    resampled = sorted(rng.choice(values, 50).mean() for _ in range(20_000))
    assert value == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((resampled[500], resampled[19_500]), rel=0.02)


def test_ratios_are_of_means_and_paired():
    costs = [10, 20, 60, 30, 80]
    outcomes = {
        "random": [outcome(cost, 9 * cost) for cost in costs],
        "tpe": [outcome(cost // 2, 3 * cost) for cost in costs],
    }
    ratios = benchmark.cost_ratios(outcomes, GRID)
    assert set(ratios) == {"trials_ratio_random_over_tpe", "epochs_ratio_random_over_tpe"}
    # Each search of random costs a fixed multiple of its pair, so there is no spread.
    assert ratios["trials_ratio_random_over_tpe"] == pytest.approx([2, 2, 2])
    assert ratios["epochs_ratio_random_over_tpe"] == pytest.approx([3, 3, 3])


@pytest.mark.parametrize("method", benchmark.METHODS[:2] + benchmark.METHODS[9:10], ids=lambda method: method.name)
def test_a_search_repeats_itself(method):
    setting = benchmark.SETTINGS[0]
    result = benchmark.run_search(setting, method, seed=2)
    assert result == benchmark.run_search(setting, method, seed=2)
    assert result.reached
    assert result.trials <= result.epochs <= result.trials * GRID.iterations


def test_the_best_configs_start_slowly_as_the_docstring_says():
    first = GRID.metric[..., 0].flatten()
    last = GRID.metric[..., -1].flatten()
    ranks = [1 + (first > first[config]).sum() for config in np.argsort(-last)[:3]]
    assert (min(ranks), max(ranks)) == (39, 66)
