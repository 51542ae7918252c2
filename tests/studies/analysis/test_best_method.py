"""The best method of a column: decided against every other one, and no more often than promised where none is best."""

import numpy as np
import pytest
from scipy import stats

from raysearch.studies.analysis.best_method import best_methods


def _draw(rng: np.random.Generator, means: list[float], seeds: int) -> dict[str, dict[int, float]]:
    levels = rng.normal(size=seeds)
    return {
        f"m{number}": dict(enumerate(mean + levels + rng.normal(scale=0.5, size=seeds)))
        for number, mean in enumerate(means)
    }


def test_decisions_are_those_of_scipy() -> None:
    """Paired t-tests of the best mean with each other method, times their number, and Holm over three columns."""
    rng = np.random.default_rng(4)
    decided = 0
    for _ in range(300):
        columns = [_draw(rng, [0.0, lead / 2, lead], 5) for lead in rng.uniform(0.5, 3.0, size=3)]
        arrays = [{name: np.array(list(scores.values())) for name, scores in column.items()} for column in columns]
        leading = [max(column, key=lambda name, column=column: column[name].mean()) for column in arrays]
        p_values = [
            2 * max(stats.ttest_rel(column[best], column[name]).pvalue for name in column if name != best)
            for column, best in zip(arrays, leading, strict=True)
        ]
        expected: list[str | None] = [None] * 3
        for rank, number in enumerate(np.argsort(p_values)):
            if p_values[number] * (3 - rank) > 0.05:
                break
            expected[number] = leading[number]
        assert best_methods(columns, "max") == expected
        decided += sum(name is not None for name in expected)
    assert 90 < decided < 810, "some are decided, and some are not"


def test_a_mean_that_leads_by_other_seeds_decides_nothing() -> None:
    """On the seeds that both have, the other method is better."""
    scores = {"a": {0: 1.0, 1: 1.1, 2: 1.2, 3: 99.0}, "b": {0: 2.0, 1: 2.11, 2: 2.19}}
    assert best_methods([scores], "max") == [None]


def test_equal_methods_are_hardly_ever_told_apart() -> None:
    rng = np.random.default_rng(0)
    false = sum(any(best_methods([_draw(rng, [0.0] * 4, 5) for _ in range(3)], "max")) for _ in range(400))
    assert false <= 400 * 0.05 + 13  # three standard errors above the level


def test_two_leading_methods_hide_each_other() -> None:
    rng = np.random.default_rng(1)
    false = sum(best_methods([_draw(rng, [5.0, 5.0, 0.0], 5)], "max") != [None] for _ in range(300))
    assert false <= 300 * 0.05 + 12


@pytest.mark.parametrize(("mode", "best"), [("max", "m2"), ("min", "m0")])
def test_a_large_lead_is_found_in_its_direction(mode: str, best: str) -> None:
    rng = np.random.default_rng(2)
    assert best_methods([_draw(rng, [-9.0, 0.0, 9.0], 5)], mode) == [best]


def test_two_seeds_or_a_single_method_decide_nothing() -> None:
    rng = np.random.default_rng(3)
    assert best_methods([_draw(rng, [0.0, 99.0], 2), {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {}}], "max") == [None, None]
