"""Intervals that a metric cannot reach are cut and explained; the tables for machines keep Student's interval."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards import report
from dashboards.run_data import MetricRange, has_chance, metric_range, near_chance
from raysearch.runs import results

INFINITE = math.inf


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("map", [0.6, 0.9], (0, 1)),
        ("map@all/expected-ties/test", [1.0], (0, 1)),
        ("map_validation", [], (0, 1)),
        ("accuracy@5-way-1-shot-15-query/600-episodes/test", [0.4], (0, 1)),
        ("nearest-centroid-accuracy@5-or-all-ways-1-shot", [0.4], (0, 1)),
        ("lookup_success", [0.0], (0, 1)),
        ("accuracy", [61.5, 0.9], (0, 100)),
        ("accuracy_percent", [0.9], (0, 100)),
        ("top1", [88.0], (0, 100)),
        ("epoch_seconds", [3.0], (0, INFINITE)),
        ("accuracy", [-0.2], (-INFINITE, INFINITE)),
        ("accuracy", [5000.0], (-INFINITE, INFINITE)),
        ("loss", [0.3], (-INFINITE, INFINITE)),
        ("accuracy_loss", [0.3], (-INFINITE, INFINITE)),
        ("heatmap_score", [0.3], (-INFINITE, INFINITE)),
    ],
)
def test_bounds_follow_the_name_and_the_values(name: str, values: list[float], expected: tuple[float, float]) -> None:
    assert tuple(metric_range(name, values)) == expected


def test_an_interval_is_cut_on_both_sides_and_never_turned_round() -> None:
    shares = MetricRange(0.0, 1.0)
    assert shares.cut(-0.3, 1.2) == (0.0, 1.0)
    assert shares.cut(0.2, 0.8) == (0.2, 0.8)
    assert shares.cut(None, None) == (None, None)
    assert MetricRange(0.0).cut(-2.0, 5.0) == (0.0, 5.0)
    assert (shares.exceeded(0.2, 1.1), shares.exceeded(0.2, 0.8), shares.exceeded(None, None)) == (True, False, False)


def test_the_report_cuts_the_interval_of_a_mean_and_says_so(make_run: Callable[..., Path]) -> None:
    run = make_run(seeds=3, noise=0.001, seed_noise=0.1, effect=lambda levels: 0.35)
    report.write(run)
    page = (run / "report.html").read_text()
    assert "1.000]" in page
    assert "where the metric cannot go (0 to 1)" in page
    rows = list(csv.DictReader((run / "tables" / "variants.csv").open()))
    assert any(float(row["ci_high"]) > 1 for row in rows)
    narrow = make_run("narrow", noise=0.001, seed_noise=0.001)
    report.write(narrow)
    assert "cannot go" not in (narrow / "report.html").read_text()
    assert results.read_study(run).study


def test_chance_belongs_to_rankings_and_accuracies() -> None:
    assert [name for name in ("map", "map_validation", "accuracy", "r_precision") if not has_chance(name)] == []
    assert not any(map(has_chance, ("epoch_seconds", "map_best_ties", "loss", "accuracy_ci", "class_codes")))


@pytest.mark.parametrize(
    ("mean", "chance", "expected"),
    [
        (0.118, 0.1, True),
        (0.05, 0.1, True),
        (0.2, 0.2, True),
        (0.3, 0.2, False),
        (0.53, 0.5, False),
        (0.012, 0.005, False),
        (None, 0.1, False),
        (0.1, None, False),
        (math.nan, 0.1, False),
        (1.0, 1.0, False),
    ],
)
def test_near_chance(mean: float | None, chance: float | None, expected: bool) -> None:
    assert near_chance(mean, chance) is expected
