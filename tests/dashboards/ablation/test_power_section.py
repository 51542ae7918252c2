"""The section on power: what the planned seeds find, by a second writing, and the cost of more."""

import math
import statistics as plain
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from dashboards.ablation.judging.power_section import power_plan, power_section
from dashboards.ablation.page import page
from dashboards.ablation.view import View, view
from raysearch.runs import results

from ..adaptive_runs import write_adaptive


def read(run: Path) -> View:
    return view(results.read_study(run), results.load(run))


def test_the_smallest_difference_has_a_power_of_80_percent(make_run: Callable[..., Path]):
    run = read(make_run(seeds=5, cost={"dollars": 80.0}, wall_seconds=3600.0 * 40))
    plan = power_plan(run)
    assert plan is not None
    variances = [plain.variance(run.differences(variant).values()) for variant in run.variants[1:]]
    assert plan.spread == pytest.approx(math.sqrt(plain.mean(variances)), rel=0.01)
    smallest = plan.smallest_effect()
    assert smallest is not None
    critical = stats.t.ppf(1 - 0.05 / 7 / 2, 4)
    power = stats.nct.sf(critical, 4, math.sqrt(5) * smallest / plan.spread)
    assert power == pytest.approx(0.8, abs=1e-6)
    assert (plan.cost.hours, plan.cost.dollars) == (1.0, 2.0)
    assert plan.further_cells(smallest) == 0
    seeds = plan.seeds_for(smallest / 2)
    assert seeds is not None
    assert plan.further_cells(smallest / 2) == 8 * seeds - 40


def test_the_page_shows_the_seeds_and_the_cost_of_smaller_differences(
    make_run: Callable[..., Path], parsed: Callable[[str], Any]
):
    run = read(make_run(seeds=5, cost={"dollars": 80.0}, wall_seconds=3600.0 * 40))
    plan = power_plan(run)
    assert plan is not None
    seen = parsed(page(run))
    assert f"{plan.describe()}." in seen.text
    at = next(index for index, cells in enumerate(seen.cells) if cells[:2] == ["Difference in mAP", "Seeds"])
    rows = seen.cells[at + 1 : at + 4]
    assert rows[0][1:] == ["5", "0 more", "0 h, $0"]
    seeds = [int(row[1]) for row in rows]
    assert seeds == sorted(seeds)
    assert [row[2] for row in rows] == [f"{8 * number - 40:,} more" for number in seeds]


def test_the_margin_of_an_adaptive_study_is_one_of_the_differences(tmp_path: Path):
    run = read(write_adaptive(tmp_path / "run", looks=(3, 5), margin=0.0123))
    assert "0.012</" in str(power_section(run))
    plan = power_plan(run)
    assert plan is not None
    assert plan.seeds == 5


@pytest.mark.parametrize("options", [{"seeds": 1}, {"absent": lambda variant, seed: True}])
def test_without_a_spread_there_is_no_section(make_run: Callable[..., Path], options: dict[str, Any]):
    assert power_section(read(make_run(**options))) is None
