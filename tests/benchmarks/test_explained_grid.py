"""An explanation of the recorded grid: its path ends at the number of the best config, which was really trained."""

import itertools

import numpy as np
import pytest
from recorded import replay, retrieval_grid

from raysearch.studies.analysis import change_path


def test_the_path_ends_at_the_number_of_the_best_config() -> None:
    grid = replay.read_grid(retrieval_grid.PATH, seed=0)
    values = grid.metric[..., -1]
    reference = {name: grid.levels[name].index(level) for name, level in retrieval_grid.study.reference.items()}
    winner = dict(zip(grid.levels, map(int, np.unravel_index(values.argmax(), values.shape)), strict=True))
    names = [name for name in grid.levels if winner[name] != reference[name]]
    assert len(names) >= 3

    def _value(made: frozenset[str]) -> float:
        index = tuple(winner[name] if name in made else reference[name] for name in grid.levels)
        return float(values[index])

    path: list[str] = []
    while len(path) < len(names):
        made = frozenset(path)
        candidates = {name: {0: _value(made | {name})} for name in names if name not in made}
        path.append(change_path.choose_next({0: _value(made)}, candidates))
        gains = {name: candidates[name][0] for name in candidates}
        assert gains[path[-1]] == max(gains.values())
    steps = [comparison for comparison in change_path.comparisons(path) if comparison.kind == "step"]
    gained = [_value(step.made) - _value(step.without) for step in steps]
    assert _value(frozenset()) + sum(gained) == pytest.approx(grid.best, abs=1e-12)
    combinations = [frozenset(made) for size in range(len(names) + 1) for made in itertools.combinations(names, size)]
    shapley = change_path.shapley_values({made: _value(made) for made in combinations}, names)
    assert sum(shapley.values()) == pytest.approx(grid.best - _value(frozenset()))
    orders = list(itertools.permutations(names))
    for name in names:  # a second writing: the mean gain over all orders
        by_order = [
            _value(frozenset(order[: order.index(name) + 1])) - _value(frozenset(order[: order.index(name)]))
            for order in orders
        ]
        assert shapley[name] == pytest.approx(np.mean(by_order))
