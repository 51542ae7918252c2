"""The benchmark of adaptive seeds: raysearch is its plain rule, the rule holds its levels, and its bounds are known."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import adaptive_seeds as benchmark
import numpy as np
import pytest
from adaptive import orders, rules, studies
from scipy import optimize, special, stats

from raysearch.studies.analysis import looks as look_rule

FEW = benchmark.Sizes(plain=12, shipped=12, reports=0, checked=1)
BY_NAME = {case.name: case for case in benchmark.CASES}


def run(name: str, number: int) -> dict[str, rules.Outcome]:
    """Return the outcomes of the plain rule and its alternatives."""
    case = BY_NAME[name]
    values = studies.draw_values(case, number)
    differences = values[:, 1:] - values[:, :1]
    effects = studies.SPREAD * np.array(case.effects)
    margin = None if case.margin is None else case.margin * studies.SPREAD
    return {
        "adaptive": rules.run_adaptive(differences, effects, margin=margin),
        "fixed": rules.run_fixed(differences, effects),
        "naive": rules.run_naive(differences, effects),
    }


@pytest.mark.parametrize("name", ["Gaussian, mixed", "Gaussian, two real, margin 1.5", "skewed, all null"])
def test_raysearch_ends_studies_as_the_plain_rule_does(name: str):
    figures = benchmark.run_case(BY_NAME[name], FEW)  # it fails where they differ
    assert figures["adaptive_by_raysearch"] == figures["adaptive"] | {"studies": 12}


def test_a_difference_between_the_two_ends_the_script(monkeypatch, tmp_path: Path):
    case = BY_NAME["Gaussian, mixed"]
    values = studies.draw_values(case, 1)
    plain = rules.run_adaptive(values[:, 1:] - values[:, :1], studies.SPREAD * np.array(case.effects))
    studies.check_reports(case, values, plain, tmp_path)
    assert (tmp_path / "0" / "report.html").is_file()
    with pytest.raises(SystemExit, match="other verdicts"):
        studies.check_reports(case, values, dataclasses.replace(plain, verdicts=-plain.verdicts), tmp_path)
    monkeypatch.setattr(rules, "LEVEL", 0.2)
    with pytest.raises(SystemExit, match="raysearch"):
        benchmark.run_case(case, FEW)


@pytest.mark.parametrize("noise", ["Gaussian", "t5"])
def test_the_level_holds_where_raising_seeds_by_hand_breaks_it(noise: str):
    number = 4000
    outcomes = run(f"{noise}, all null", number)
    wrong = {way: int((np.abs(outcome.verdicts) == 1).any(axis=1).sum()) for way, outcome in outcomes.items()}
    most = stats.binom.ppf(0.999, number, 0.05)
    assert wrong["adaptive"] <= most
    assert wrong["fixed"] <= most
    assert wrong["naive"] > 2 * most


@pytest.mark.parametrize("name", [name for name in BY_NAME if "skewed" not in name])
def test_intervals_hold_at_all_looks_together(name: str):
    outcome = run(name, 2000)["adaptive"]
    least = stats.binom.ppf(0.001, 2000, 0.95) / 2000  # comparisons of a study are not independent
    assert outcome.always_covered.mean() >= least
    assert outcome.covered.mean() >= outcome.always_covered.mean()


@pytest.mark.parametrize("name", ["Gaussian, mixed", "t5, mixed", "Gaussian, all null, margin 1.5"])
def test_a_quarter_of_the_cells_is_saved(name: str):
    outcomes = run(name, 2000)
    assert outcomes["adaptive"].cells.mean() <= 0.75 * outcomes["fixed"].cells.mean()


def test_power_stays_within_five_points_of_all_seeds():
    is_real = np.array(BY_NAME["Gaussian, mixed"].effects) != 0
    found = {way: (outcome.verdicts != 0)[:, is_real].mean() for way, outcome in run("Gaussian, mixed", 4000).items()}
    assert found["fixed"] - 0.05 <= found["adaptive"] <= found["fixed"]
    assert found["naive"] < found["adaptive"] - 0.3  # it stops at the first decision


def test_an_effect_as_large_as_the_margin_rarely_ends_within_it():
    case = studies.Case("Gaussian", (1.5,) * 7, margin=1.5)
    values = studies.draw_values(case, 2000)
    effects = studies.SPREAD * np.array(case.effects)
    outcome = rules.run_adaptive(values[:, 1:] - values[:, :1], effects, margin=1.5 * studies.SPREAD)
    assert np.mean(outcome.verdicts == rules.WITHIN) <= 0.025


def exact_bounds(times: list[float], spent: Callable[[float], float]) -> list[float]:
    """Return the one-sided bounds of a normal statistic that spend a level exactly, by integration on a grid."""
    bounds: list[float] = []
    grid = np.linspace(-8, 8, 1601)
    density = stats.norm.pdf(grid, scale=times[0] ** 0.5)  # of the score at the first look
    previous = 0.0
    for number, time in enumerate(times):
        if number:
            step = (time - times[number - 1]) ** 0.5
            kernel = stats.norm.pdf((grid[:, None] - grid[None, :]) / step) / step
            density = kernel @ density * (grid[1] - grid[0])
        target = spent(time) - previous
        previous = spent(time)

        def _excess(bound: float, density: np.ndarray = density, time: float = time, target: float = target) -> float:
            tail = np.interp(np.linspace(bound * time**0.5, 8, 4001), grid, density)
            return float(np.trapezoid(tail, dx=(8 - bound * time**0.5) / 4000) - target)

        bounds.append(optimize.brentq(_excess, 0.5, 6))
        density = np.where(grid <= bounds[-1] * time**0.5, density, 0.0)
    return bounds


def test_bounds_beside_those_of_rpact():
    # rpact's own tests: alpha 0.03, Kim and DeMets' spending with exponent 2.2.
    times = [0.3, 0.7, 1.0]
    published = [2.8594012, 2.2435708, 1.9735737]
    assert exact_bounds(times, lambda time: 0.03 * time**2.2) == pytest.approx(published, abs=2e-3)
    # The rule spends with exponent 2. It is exact at the first look, and a little stricter after.
    bounds = special.ndtri(1 - 0.025 * np.array(look_rule.weights(rules.LOOKS)))
    exact = exact_bounds([seeds / 20 for seeds in rules.LOOKS], lambda time: 0.025 * time**2)
    assert bounds[0] == pytest.approx(exact[0], abs=2e-3)
    assert all(0.02 < bound - other < 0.1 for bound, other in zip(bounds[1:], exact[1:], strict=True))
    # sfPower of gsDesign spends alpha * t^rho.
    assert np.cumsum(look_rule.weights([5, 10, 15, 20])) == pytest.approx([1 / 16, 1 / 4, 9 / 16, 1])


def test_recorded_trainings_are_rarely_contradicted():
    table, reference = orders.read_recorded()
    outcome = orders.replay(table, reference, 20)
    assert outcome.comparisons >= 8
    assert table.num_rows == 20 * (1 + outcome.comparisons)
    assert not outcome.opposite.any()
    assert outcome.contradicted <= 0.1
    assert outcome.cells.max() <= outcome.all_cells


@pytest.mark.slow
def test_a_quick_run_ends_with_its_figures():
    script = Path(benchmark.__file__)
    done = subprocess.run([sys.executable, script, "--quick"], capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert next(iter(figures)).startswith("saved: ")
    assert figures["cases"]["Gaussian, all null"]["adaptive_by_raysearch"]["studies"] == benchmark.QUICK.shipped
    assert len(figures["cases"]) == len(benchmark.CASES)
    assert figures["recorded"]["no margin"]["orders"] == benchmark.QUICK.orders
