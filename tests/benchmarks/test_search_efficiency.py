"""What the benchmark makes of outcomes: charges, intervals and ratios, and that its searches repeat themselves."""

import numpy as np
import pytest
import search_efficiency as benchmark
from recorded import replay, retrieval_grid

GRID = replay.read(retrieval_grid.PATH, seed=0)


def outcome(trials, epochs, reached=True):
    return replay.Outcome(reached, trials, epochs, seconds=1.0, suggestions=trials)


def test_a_search_that_missed_is_charged_the_grid():
    outcomes = [outcome(10, 90), outcome(200, 400, reached=False)]
    assert benchmark.charged(outcomes, GRID, "trials").tolist() == [10, 216]
    assert benchmark.charged(outcomes, GRID, "epochs").tolist() == [90, 216 * 9]


def test_an_interval_like_a_plain_bootstrap():
    rng = np.random.default_rng(3)
    values = rng.gamma(2.0, 30.0, 50)
    value, low, high = benchmark.interval((values,), np.mean)
    drawn = sorted(rng.choice(values, 50).mean() for _ in range(20_000))
    assert value == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((drawn[500], drawn[19_500]), rel=0.02)


def test_ratios_are_of_means_and_paired():
    costs = [10, 20, 60, 30, 80]
    outcomes = {
        "random": [outcome(cost, 9 * cost) for cost in costs],
        "tpe": [outcome(cost // 2, 3 * cost) for cost in costs],
    }
    found = benchmark.ratios(outcomes, GRID)
    assert set(found) == {"trials_ratio_random_over_tpe", "epochs_ratio_random_over_tpe"}
    # Each search of the one costs a fixed part of its twin: nothing is left to spread.
    assert found["trials_ratio_random_over_tpe"] == pytest.approx([2, 2, 2])
    assert found["epochs_ratio_random_over_tpe"] == pytest.approx([3, 3, 3])


@pytest.mark.parametrize("method", benchmark.METHODS[:2] + benchmark.METHODS[9:10], ids=lambda method: method.name)
def test_a_search_repeats_itself(method):
    setting = benchmark.SETTINGS[0]
    found = benchmark.one_search(setting, method, seed=2)
    assert found == benchmark.one_search(setting, method, seed=2)
    assert found.reached
    assert found.trials <= found.epochs <= found.trials * GRID.iterations


def test_the_best_configs_start_slowly_as_the_docstring_says():
    first, last = GRID.metric[..., 0].flatten(), GRID.metric[..., -1].flatten()
    ranks = [1 + (first > first[config]).sum() for config in np.argsort(-last)[:3]]
    assert (min(ranks), max(ranks)) == (39, 66)
