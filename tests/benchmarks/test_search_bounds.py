"""Oracles against least squares, epochs that add up, and what a sampler knew, by hand."""

import itertools

import numpy as np
import pytest
import search_bounds
from ray.tune.schedulers import FIFOScheduler
from recorded import replay, retrieval_grid

GRID = replay.read_grid(retrieval_grid.PATH, seed=0)
LAST = GRID.metric[..., -1]


def least_squares(values: np.ndarray, order: int) -> np.ndarray:
    """Fit a constant and a column per combination of levels of up to `order` factors."""
    configs = np.array(list(np.ndindex(values.shape)))
    columns = []
    for axes in itertools.combinations(range(values.ndim), order):
        for levels in itertools.product(*(range(values.shape[axis]) for axis in axes)):
            matches = [configs[:, axis] == level for axis, level in zip(axes, levels, strict=True)]
            columns.append(np.all(matches, axis=0))
    design = np.array(columns, dtype=float).T
    return (design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]).reshape(values.shape)


@pytest.mark.parametrize("order", [1, 2])
def test_effects_are_those_of_least_squares(order: int) -> None:
    assert search_bounds.effects_up_to(LAST, order) == pytest.approx(least_squares(LAST, order))


def test_effects_of_all_factors_are_the_values() -> None:
    assert search_bounds.effects_up_to(LAST, LAST.ndim) == pytest.approx(LAST)


def test_who_knows_every_value_runs_the_best_config_first() -> None:
    outcome = search_bounds.run_order(GRID, search_bounds.configs_by(LAST), None)
    assert outcome.reached
    assert outcome.started[0].config == np.unravel_index(LAST.argmax(), LAST.shape)
    assert GRID.iterations <= outcome.epochs < search_bounds.WORKERS * (GRID.iterations + 1)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_parts_add_up_to_the_epochs(seed: int) -> None:
    outcome, parts = search_bounds.run_default(seed)
    assert outcome.reached
    assert sum(parts.values()) == outcome.epochs
    assert parts["full length, reached"] == GRID.iterations
    at_random = [trial for trial in outcome.started if trial.told < search_bounds.STARTUP]
    assert search_bounds.STARTUP <= len(at_random) < search_bounds.STARTUP + search_bounds.WORKERS
    missed = [trial for trial in at_random if GRID.metric[trial.config][trial.iterations - 1] < 0.99 * GRID.best]
    reached_at_random = GRID.iterations * (len(missed) < len(at_random))
    assert parts["random start"] == sum(trial.iterations for trial in at_random) - reached_at_random


def test_what_a_sampler_knew_by_hand() -> None:
    # Seconds are alike, so two workers end in the order of their start, and each new trial knows one more.
    grid = replay.Grid({"a": [1, 2, 3, 4]}, np.array([[0.1, 0.2], [0.3, 0.4], [0.2, 0.3], [0.5, 0.9]]), np.ones((4, 2)))
    sampler = search_bounds.OrderSampler(["a"], [(0,), (1,), (2,), (3,)])
    outcome = replay.search(grid, sampler, FIFOScheduler(), 0.8, workers=2)
    assert [(trial.config, trial.told) for trial in outcome.started] == [((0,), 0), ((1,), 0), ((2,), 1), ((3,), 2)]
    assert sum(trial.iterations for trial in outcome.started) == outcome.epochs == 8


def test_starts_come_before_the_sampler() -> None:
    grid = replay.Grid({"a": [1, 2, 3]}, np.array([[0.1, 0.2], [0.3, 0.4], [0.2, 0.9]]), np.ones((3, 2)))
    sampler = search_bounds.OrderSampler(["a"], [(0,)])
    outcome = replay.search(grid, sampler, FIFOScheduler(), 0.8, starts=[(1,), (2,)])
    assert [trial.config for trial in outcome.started] == [(1,), (2,)]
    assert outcome == replay.Outcome(True, 2, 4, 4.0, 2)
