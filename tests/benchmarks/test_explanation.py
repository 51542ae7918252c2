"""The benchmark of explanations: raysearch is its plain rule, the rule holds its level, and the naive one is biased."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import explanation as benchmark
import numpy as np
import pytest
from explained import races

from raysearch.studies.analysis import change_path, race_forecast

BY_NAME = {case.name: case for case in (*benchmark.CASES, *benchmark.RACED_CASES)}
LEVEL = 0.05


@pytest.mark.parametrize("case", benchmark.CASES, ids=lambda case: case.name)
def test_raysearch_explains_as_the_plain_rule_does(case: benchmark.Case) -> None:
    draws = benchmark.draw(case, 5, seed=7)
    benchmark.check_shipped(case, draws, benchmark.explain(case, draws), 5)  # it fails where they differ


def test_a_difference_is_noticed() -> None:
    case = BY_NAME["three matter, 5 seeds"]
    draws = benchmark.draw(case, 1)
    other = dataclasses.replace(draws, path=draws.path + benchmark.SPREAD * np.eye(1, 9, 4).T)
    with pytest.raises(SystemExit, match="differ in explanation 0"):
        benchmark.check_shipped(case, other, benchmark.explain(case, draws), 1)


def test_few_claims_where_nothing_matters() -> None:
    for seeds in (5, 10):
        case = BY_NAME[f"nothing matters, {seeds} seeds"]
        figures = benchmark.figures_of(benchmark.explain(case, benchmark.draw(case, 4000, seed=8)))
        assert figures["any_wrong_claim"] < LEVEL + 3.1 * np.sqrt(LEVEL * (1 - LEVEL) / 4000)
        assert figures["coverage_first_step"] == pytest.approx(0.95, abs=0.011)
        naive = benchmark.figures_of(benchmark.explain_naively(case, 4000))
        assert naive["bias_first_step"] > 0.25
        assert naive["coverage_first_step"] < 0.92


def test_three_of_eight_are_named_and_the_others_are_within_the_margin() -> None:
    case = BY_NAME["three matter, 10 seeds, margin 1.5"]
    outcome = benchmark.explain(case, benchmark.draw(case, 2000, seed=9))
    figures = benchmark.figures_of(outcome)
    assert figures["all_found"] > 0.99
    assert figures["null_within_margin"] > 0.95
    assert figures["any_wrong_claim"] < 0.066
    named = outcome.truth != 0
    assert (outcome.low[named] > 0).mean() > 0.999, "the intervals of what matters leave out zero"


@pytest.mark.parametrize("case", benchmark.RACED_CASES, ids=lambda case: case.name)
def test_raysearch_races_as_the_plain_rule_does(case: benchmark.Case) -> None:
    draws = benchmark.draw(case, 2, seed=7)
    races.check_shipped(case, draws, races.race(case, draws), 2)  # it fails where they differ


def test_a_race_that_differs_is_noticed() -> None:
    case = BY_NAME["race, three matter"]
    draws = benchmark.draw(case, 1)
    other = dataclasses.replace(draws, path=draws.path + benchmark.SPREAD * np.eye(1, 9, 4).T)
    with pytest.raises(SystemExit, match="differ in race 0"):
        races.check_shipped(case, other, races.race(case, draws), 1)


def test_races_keep_the_level_of_the_whole_path() -> None:
    for name in ("race, nothing matters", "race, nothing matters, margin 1.5", "race, three matter"):
        case = BY_NAME[name]
        figures = races.figures_of(races.race(case, benchmark.draw(case, 3000, seed=8)))
        assert figures["any_wrong_claim"] < LEVEL + 3.1 * np.sqrt(LEVEL * (1 - LEVEL) / 3000)
        assert figures["coverage_of_all_looks"] > 0.95


def test_races_find_the_three_that_matter_with_fewer_cells() -> None:
    for name, least in (("race, three matter", 0.2), ("race, three matter, margin 1.5", 0.45)):
        case = BY_NAME[name]
        figures = races.figures_of(races.race(case, benchmark.draw(case, 1000, seed=9)))
        assert figures["all_found"] > 0.99
        assert figures["saved"] > least


def test_the_forecast_of_a_race_is_that_of_the_simulation() -> None:
    """`--dry-run` assumes that a third of the changes earn the gain in equal parts."""
    drawn = BY_NAME["race, three matter, margin 1.5"]
    draws = benchmark.draw(drawn, 300)
    case = dataclasses.replace(drawn, effects=(6.0, 6.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    measured = race_forecast.MeasuredPath(changes=8, gain=18 * benchmark.SPREAD, spread=benchmark.SPREAD)
    expected = race_forecast.expected_cells([measured], races.rules.LOOKS, 1.5 * benchmark.SPREAD)
    assert expected == pytest.approx(races.race(case, draws).cells.mean(), rel=0.07)


def test_a_config_has_the_seeds_of_its_longest_comparison() -> None:
    """Two changes: reference, first step, best, and best without the first; three comparisons."""
    seeds = np.array([[3, 12, 8], [20, 3, 5]])
    assert races.count_cells(seeds, 2).tolist() == [5 + 12 + 12 + 8, 20 + 20 + 5 + 5]


def test_the_order_of_equal_gains_is_that_of_the_space() -> None:
    same = {0: 0.5, 1: 0.6}
    assert change_path.choose_next({0: 0.4, 1: 0.5}, {"b": same, "a": same}) == "b"
    assert change_path.choose_next({0: 0.4}, {"a": {5: 0.9}, "b": {0: 0.1}}) == "b", "no seed in common comes last"


@pytest.mark.slow
def test_the_script_ends_with_figures() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "explanation.py"
    done = subprocess.run([sys.executable, script, "--quick"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["any_wrong_claim_raysearch"] < 0.07
    assert figures["any_wrong_claim_race"] < 0.07
