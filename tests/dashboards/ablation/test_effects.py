"""Dots, trade-offs and brackets beside plain second writings from the cells."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards.ablation import cost, effects, sections
from dashboards.ablation.view import View, view
from raysearch.runs import results


def read(run: Path) -> View:
    return view(results.read_study(run), results.load(run))


def failing(variant: str, seed: int) -> str | None:
    holes = {("srem.regions=10", 2), ("srem.size=5", 0), ("reference", 4)}
    return "boom" if (variant, seed) in holes else None


def test_a_dot_for_each_seed_that_both_finished(make_run: Callable[..., Path]) -> None:
    path = make_run(failing=failing)
    run, rows = read(path), results.load(path).to_pylist()
    figure = effects.effects(run)
    assert figure is not None
    (dots,) = [trace for trace in figure.data if trace.name == effects.SEEDS]
    expected = {}
    for index, one in enumerate(run.variants[1:]):
        for seed in range(5):
            own = [row["map"] for row in rows if (row["variant"], row["seed"]) == (one.name, seed)]
            other = [row["map"] for row in rows if (row["variant"], row["seed"]) == ("reference", seed)]
            if own[0] is not None and other[0] is not None:
                expected[index, seed] = own[0] - other[0]
    assert len(dots.x) == len(expected) == 7 * 4 - 2
    found = {}
    for x, y, words in zip(dots.x, dots.y, dots.hovertext, strict=True):
        found[int(y), int(words.partition(":")[0].removeprefix("seed "))] = x
        assert 0.1 < y % 1 < 0.45, "below its own interval and above the next"
    assert found == pytest.approx(expected)
    # a seed stands at one height in every row, and no two seeds do
    heights = {(int(words[5]), round(y % 1, 6)) for y, words in zip(dots.y, dots.hovertext, strict=True)}
    assert len(heights) == 4
    assert len({height for _, height in heights}) == 4
    means = {y: x for trace in figure.data if trace is not dots for x, y in zip(trace.x, trace.y, strict=True)}
    for index in range(7):
        own = [value for (row, _), value in found.items() if row == index]
        assert means[index] == pytest.approx(sum(own) / len(own)), "the dots are what the interval is of"


def test_the_line_joins_what_no_other_beats(make_run: Callable[..., Path]) -> None:
    rng = random.Random(3)
    for mode, better in (("max", lambda a, b: a >= b), ("min", lambda a, b: a <= b)):
        points = [(rng.randrange(8) / 2, rng.randrange(8) / 8) for _ in range(30)]
        slow = set()
        for x, y in points:
            beaten = False
            for price, gain in points:
                if price <= x and better(gain, y) and (price, gain) != (x, y):
                    beaten = True
            if not beaten:
                slow.add((x, y))
        found = [points[index] for index in cost.front(points, mode)]
        assert set(found) == slow
        assert found == sorted(found), "the cheapest first"
    run = read(make_run(effect=lambda levels: 0.03 * (levels["srem.size"] == 64)))
    figure = cost.draw_tradeoff(run)
    assert figure is not None
    placed = {(x, y) for trace in figure.data if trace.mode == "markers" for x, y in zip(trace.x, trace.y, strict=True)}
    assert len(placed) == len(run.variants)
    assert (run.reference.seconds, 0.0) in placed
    (line,) = [trace for trace in figure.data if trace.name == cost.FRONT]
    assert set(zip(line.x, line.y, strict=True)) <= placed
    assert (run.named["srem.size=18"].seconds, run.named["srem.size=18"].compared["delta"]) in zip(
        line.x, line.y, strict=True
    )


def test_the_bracket_holds_worst_expected_and_best_order(make_run: Callable[..., Path]) -> None:
    path = make_run(failing=failing)
    run, rows = read(path), results.load(path).to_pylist()
    figure = sections.draw_brackets(run)
    assert figure is not None
    bar, expected, index = figure.data
    for at, one in enumerate(run.variants):
        mine = [row for row in rows if row["variant"] == one.name and row["status"] == "finished"]
        means = []
        for name in ("map_worst_ties", "map", "map_best_ties", "map_index"):
            total = 0.0
            for row in mine:
                total += row[name]
            means.append(total / len(mine))
        assert (bar.base[at], expected.x[at], bar.base[at] + bar.x[at], index.x[at]) == pytest.approx(tuple(means))
        assert means[0] < means[1] < means[2]


def test_cells_that_do_not_tell_the_order_of_ties_have_no_bracket(make_run: Callable[..., Path]) -> None:
    path = make_run()
    table = results.load(path).drop_columns(["map_worst_ties"])
    assert sections.draw_brackets(view(results.read_study(path), table)) is None
