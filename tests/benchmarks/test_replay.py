"""Replayed searches against counting by hand and against a plain second writing; the recorded grid has no holes."""

import itertools

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler
from recorded import replay, retrieval_grid


class Scripted(optuna.samplers.BaseSampler):
    """Suggest the given configs in order, then the last one for ever, and record how each trial was reported."""

    def __init__(self, configs):
        self.configs = list(configs)
        self.reports = []

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self.configs[min(trial.number, len(self.configs) - 1)]["ab".index(param_name)]

    def after_trial(self, study, trial, state, values):
        self.reports.append((trial.number, state.name.lower(), values and values[0], trial.intermediate_values))


def asha(iterations):
    return AsyncHyperBandScheduler(
        time_attr=replay.TIME, metric=replay.METRIC, mode="max", max_t=iterations, grace_period=1, reduction_factor=3
    )


def tiny():
    """Two factors of two levels and three iterations of 1, 2, 4 and 8 s; (1, 1) ends best, (0, 1) begins best."""
    metric = np.array([[[0.1, 0.2, 0.3], [0.5, 0.9, 0.4]], [[0.2, 0.3, 0.5], [0.3, 0.6, 0.8]]])
    seconds = np.broadcast_to(np.array([[1.0, 2.0], [4.0, 8.0]])[..., None], metric.shape)
    return replay.Grid({"a": [0.1, 1.0], "b": [3.0, 9.0]}, metric, seconds)


def random_grid(rng, iterations=9):
    shape = (4, 5, iterations)
    return replay.Grid({"a": [1, 2, 3, 4], "b": [1, 2, 3, 4, 5]}, rng.random(shape), 1 + rng.random(shape))


def random_order(rng):
    return [(int(a), int(b)) for a, b in rng.permutation(list(itertools.product(range(4), range(5))))]


def test_one_worker_by_hand():
    # Three configs of three iterations; the repeated one costs nothing, and 0.9 on the way of (0, 1) is not an end.
    sampler = Scripted([(0, 0), (0, 1), (0, 0), (1, 1)])
    outcome = replay.search(tiny(), sampler, FIFOScheduler(), target=0.8)
    assert outcome == replay.Outcome(reached=True, trials=3, epochs=9, seconds=3 * (1 + 2 + 8), suggestions=4)
    assert [(number, value) for number, _, value, _ in sampler.reports] == [(0, 0.3), (1, 0.4), (2, 0.3)]


def test_two_workers_by_hand():
    # (0, 0) ends at 3, (1, 0) at 12, (0, 1) runs from 3 to 9 and (1, 1) from 9 to 33; at 12 a worker asks in vain.
    outcome = replay.search(tiny(), Scripted([(0, 0), (1, 0), (0, 1), (1, 1)]), FIFOScheduler(), 0.8, workers=2)
    assert outcome == replay.Outcome(True, 4, 12, 33.0, 5)


def test_what_is_running_is_not_run_twice():
    # The second worker waits for (0, 0), which ends at 3 and answers both; then (1, 1) runs from 3 to 27.
    sampler = Scripted([(0, 0), (0, 0), (0, 1), (1, 1)])
    outcome = replay.search(tiny(), sampler, FIFOScheduler(), 0.8, workers=2)
    assert outcome == replay.Outcome(True, 3, 9, 27.0, 5)
    assert [value for _, _, value, _ in sampler.reports] == [0.3, 0.3, 0.4]


def test_early_stopping_by_hand():
    # Rung 1 keeps what is not below the 2/3 percentile of those before: 0.5 alone, then (0.5, 0.1) gives 0.367.
    sampler = Scripted([(0, 1), (0, 0), (1, 0), (1, 1)] * 20)
    outcome = replay.search(tiny(), sampler, asha(3), 0.8, stopped_as="pruned")
    assert (outcome.reached, outcome.trials, outcome.epochs) == (False, 4, 3 + 1 + 1 + 1)
    assert [state for _, state, _, _ in sampler.reports[:4]] == ["complete", "pruned", "pruned", "pruned"]
    assert sampler.reports[1][3] == {1: 0.1}
    sampler = Scripted([(0, 1), (0, 0), (0, 0), (1, 0), (1, 1)])
    replay.search(tiny(), sampler, asha(3), 0.8)
    assert sampler.reports[1][1:3] == ("complete", 0.1)
    assert sampler.reports[2][1:3] == ("complete", 0.1)


def test_the_values_of_a_stopped_trial_are_no_result():
    metric = np.array([[[0.9, 0.2, 0.1], [0.85, 0.9, 0.9]]])
    grid = replay.Grid({"a": [1.0], "b": [1.0, 2.0]}, metric, np.ones_like(metric))
    outcome = replay.search(grid, Scripted([(0, 0), (0, 1)]), asha(3), target=0.8)
    assert (outcome.reached, outcome.trials, outcome.epochs) == (False, 2, 3 + 1)


@pytest.mark.parametrize("seed", range(5))
def test_one_worker_with_early_stopping_like_a_plain_second_writing(seed):
    rng = np.random.default_rng(seed)
    grid = random_grid(rng)
    order = random_order(rng)
    target = sorted(grid.metric[..., -1].flatten())[-3]
    rungs = {1: [], 3: []}
    trials = epochs = 0
    seconds = 0.0
    reached = False
    for config in order:
        trials += 1
        for iteration in range(1, 10):
            epochs += 1
            seconds += grid.seconds[config][iteration - 1]
            value = grid.metric[config][iteration - 1]
            if iteration in rungs:
                before = list(rungs[iteration])
                rungs[iteration].append(value)
                if before and value < np.percentile(before, 100 * 2 / 3):
                    break
        else:
            reached = value >= target
        if reached:
            break
    outcome = replay.search(grid, Scripted(order), asha(9), target)
    assert (outcome.reached, outcome.trials, outcome.epochs) == (reached, trials, epochs)
    assert outcome.seconds == pytest.approx(seconds)


@pytest.mark.parametrize("seed", range(5))
def test_four_workers_like_a_plain_second_writing(seed):
    rng = np.random.default_rng(seed)
    grid = random_grid(rng)
    order = random_order(rng)
    free = [0.0] * 4
    spans = {}
    for config in order:
        start = min(free)
        ends = start + np.cumsum(grid.seconds[config])
        free[free.index(start)] = ends[-1]
        spans[config] = (start, ends)
    now = min(ends[-1] for config, (_, ends) in spans.items() if grid.metric[config][-1] == grid.best)
    started = sum(start < now for start, _ in spans.values())
    epochs = sum((ends <= now).sum() for _, ends in spans.values())
    outcome = replay.search(grid, Scripted(order), FIFOScheduler(), grid.best, workers=4)
    assert (outcome.reached, outcome.trials, outcome.epochs) == (True, started, epochs)
    assert outcome.seconds == pytest.approx(now)


def test_a_hopeless_search_ends():
    outcome = replay.search(tiny(), Scripted([(0, 0)] * 100), FIFOScheduler(), target=0.8, workers=2)
    assert (outcome.reached, outcome.trials, outcome.epochs) == (False, 1, 3)
    assert outcome.suggestions == 1 + replay.PATIENCE


def test_the_recorded_grid_is_whole():
    rows = pq.read_table(retrieval_grid.PATH).to_pylist()
    levels = {factor.name: [level[factor.name] for level in factor.levels] for factor in retrieval_grid.study.factors}
    expected = set(itertools.product(*levels.values(), range(1, retrieval_grid.ITERATIONS + 1)))
    points = {seed: [] for seed in (0, 1)}
    for row in rows:
        points[row["seed"]].append((*(row[name] for name in levels), row["iteration"]))
    assert sorted(points[0]) == sorted(expected)
    assert set(points[1]) < expected
    assert len(points[1]) == len(set(points[1])) == 88 * 9
    assert all(0 < row["map"] < 1 and row["seconds"] > 0 for row in rows)
    assert retrieval_grid.PATH.stat().st_size <= 500_000


def test_the_recorded_grid_is_as_its_docstring_says():
    names = [factor.name for factor in retrieval_grid.study.factors]
    ends = {
        (row["seed"], *(row[name] for name in names)): row["map"]
        for row in pq.read_table(retrieval_grid.PATH).to_pylist()
        if row["iteration"] == retrieval_grid.ITERATIONS
    }
    first = {key[1:]: value for key, value in ends.items() if key[0] == 0}
    assert max(first, key=first.get) == (2e-4, 54.0, 2.0, 0.01)
    assert sum(value >= 0.99 * max(first.values()) for value in first.values()) == 3
    # Half the mean square of a difference of two is the variance of one.
    squares = [(value - first[key[1:]]) ** 2 for key, value in ends.items() if key[0] == 1]
    noise = (sum(squares) / len(squares) / 2) ** 0.5
    assert noise == pytest.approx(0.027, abs=5e-4)
    assert np.std(list(first.values())) == pytest.approx(0.119, abs=5e-4)


def test_reading_puts_every_curve_in_its_place():
    grid = replay.read_grid(retrieval_grid.PATH, seed=0)
    assert list(grid.levels) == [factor.name for factor in retrieval_grid.study.factors]
    rows = [row for row in pq.read_table(retrieval_grid.PATH).to_pylist() if row["seed"] == 0]
    for row in rows[::11]:
        config = tuple(levels.index(row[name]) for name, levels in grid.levels.items())
        assert grid.metric[config][row["iteration"] - 1] == row["map"]
        assert grid.seconds[config][row["iteration"] - 1] == row["seconds"]
    assert grid.best == max(row["map"] for row in rows if row["iteration"] == grid.iterations)


def test_a_hole_is_an_error(tmp_path):
    table = pq.read_table(retrieval_grid.PATH)
    pq.write_table(table.slice(1), tmp_path / "holed.parquet")
    with pytest.raises(ValueError, match="seed 0: 1 of 1944 points"):
        replay.read_grid(tmp_path / "holed.parquet", 0)
