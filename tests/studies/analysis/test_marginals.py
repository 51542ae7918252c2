"""Marginal means beside loops that add the cells up, and the holes that would have made them means of other things."""

import itertools
import math
import random

import pytest
from scipy import stats

from raysearch.studies.analysis import marginal

SIZES = (3, 2, 4)  # levels of three factors


def drawn(seeds: int = 5) -> dict[tuple[int, ...], dict[int, float]]:
    rng = random.Random(4)
    combinations = itertools.product(*(range(size) for size in SIZES))
    return {levels: {seed: rng.random() + seed for seed in range(seeds)} for levels in combinations}


@pytest.mark.parametrize("kept", [(0,), (1,), (2,), (0, 2), (2, 1)])
def test_agrees_with_loops_over_all_cells(kept: tuple[int, ...]) -> None:
    cells = drawn()
    effect = marginal(cells, kept)
    combinations = list(itertools.product(*(range(SIZES[position]) for position in kept)))
    assert set(effect.points) == set(combinations)
    for point in combinations:
        blocks = []
        for seed in range(5):
            total = 0.0
            number = 0
            for levels, values in cells.items():
                if all(levels[position] == level for position, level in zip(kept, point, strict=True)):
                    total += values[seed]
                    number += 1
            blocks.append(total / number)
        assert effect.points[point].mean == pytest.approx(sum(blocks) / 5)
        # as if each seed were one measurement, and not each cell
        low, high = stats.t.interval(0.95, 4, loc=stats.tmean(blocks), scale=stats.sem(blocks))
        assert (effect.points[point].low, effect.points[point].high) == pytest.approx((low, high))
    assert effect.seeds == (0, 1, 2, 3, 4)
    assert effect.settings == math.prod(size for position, size in enumerate(SIZES) if position not in kept)
    assert effect.left_out == 0


def test_an_additive_design_has_the_planted_effect_at_every_level() -> None:
    effects = ((0.0, 0.1, 0.4), (0.0, -0.2))
    cells = {
        (i, j): {seed: 0.5 + a + b + 0.03 * seed for seed in range(4)}
        for i, a in enumerate(effects[0])
        for j, b in enumerate(effects[1])
    }
    points = marginal(cells, [0]).points
    assert [points[i,].mean - points[0,].mean for i in range(3)] == pytest.approx([0.0, 0.1, 0.4])
    lines = marginal(cells, [0, 1]).points
    gaps = [lines[i, 1].mean - lines[i, 0].mean for i in range(3)]
    assert gaps == pytest.approx([-0.2] * 3), "without an interaction the lines are parallel"


def test_a_seed_with_a_hole_counts_nowhere() -> None:
    # the seed that is missing at one level is the worst: kept elsewhere it would make that level look better
    cells = {(0, 0): {0: 0.5, 1: 0.5, 2: 0.1}, (0, 1): {0: 0.5, 1: 0.5, 2: 0.1}}
    cells |= {(1, 0): {0: 0.5, 1: 0.5, 2: 0.1}, (1, 1): {0: 0.5, 1: 0.5}}
    effect = marginal(cells, [0])
    assert effect.seeds == (0, 1)
    assert [point.mean for point in effect.points.values()] == [0.5, 0.5]
    assert effect.points[0,].low is None, "two seeds have no interval"


def test_a_setting_that_was_not_tried_at_every_level_counts_nowhere() -> None:
    # the second setting of the other factor adds 0.3, and failed altogether at the first level
    cells = {(0, 0): {0: 0.5, 1: 0.6}, (0, 1): {}, (1, 0): {0: 0.5, 1: 0.6}, (1, 1): {0: 0.8, 1: 0.9}}
    effect = marginal(cells, [0])
    assert [point.mean for point in effect.points.values()] == pytest.approx([0.55, 0.55])
    assert (effect.settings, effect.left_out) == (1, 1)


def test_a_level_that_never_finished_has_no_point_and_spoils_no_other() -> None:
    cells = {(0, 0): {0: 0.5}, (0, 1): {0: 0.7}, (1, 0): {}, (1, 1): {}}
    effect = marginal(cells, [0])
    assert {levels: point.mean for levels, point in effect.points.items()} == pytest.approx({(0,): 0.6})


def test_without_a_common_seed_there_is_nothing_to_show() -> None:
    assert marginal({(0, 0): {0: 0.5}, (1, 0): {1: 0.5}}, [0]).points == {}
    assert marginal({}, [0]).points == {}
    assert marginal({(0, 0): {}}, [0]).points == {}
