"""The statistics proved on studies of known truth: a fake task with planted effects, planned, stored and reported.

A value is 0.6 + the seed's level + the variant's effect + a noise of the cell's own. Levels and noises are normal, so
that coverage and power are those of textbooks: a paired difference over n seeds has standard error noise * sqrt(2 / n),
and its t statistic is noncentral t with n - 1 degrees of freedom and the effect over that standard error.

Every study goes through `plan.make`, the store's table, `statistics.compare` and the report's view, whose verdicts are
counted. A cell costs the store milliseconds, most of it waiting for the disk, so 100 studies are written to Parquet,
loaded again and counted from the CSV beside the report; all 1,000 go through the same code without the files, and
`test_studies_from_files...` shows that nothing but the disk lies between the two.

The draws are fixed. Bounds on counts are binomial at 1 in 1,000; what was observed is printed (`pytest -rP`).
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dashboards.ablation import tables
from dashboards.ablation.view import View, view
from raysearch.runs import StudyRecord, describe, results
from raysearch.studies.design import Ablation, ablation_plan, factor

SLOW = pytest.mark.slow
STUDIES = 1000
LEVELS = 0.03
NOISE = 0.005  # standard deviations of seeds and of cells
IDS = json.dumps({"map": "map@all/expected-ties/test"})


@dataclass(frozen=True)
class FakeTask:
    """Draws what a training would have measured.

    Args:
        effects: of the variants after the reference.
        noise: standard deviation of a cell's own noise, by the position of its seed.
        failing: probability that a cell fails.
    """

    effects: tuple[float, ...]
    noise: Callable[[int], float] = lambda seed: NOISE
    failing: float = 0.0

    def run(self, planned: ablation_plan.AblationPlan, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        """The records of a study's cells."""
        levels = rng.normal(0, LEVELS, len(planned.seeds))
        effect = dict(zip((variant.name for variant in planned.variants), (0.0, *self.effects), strict=True))
        for cell in planned.cells:
            value = 0.6 + levels[cell.seed] + effect[cell.variant.name] + rng.normal(0, self.noise(cell.seed))
            failed = rng.random() < self.failing
            yield {
                "seed": cell.seed,
                "cell": cell.hash,
                "status": "failed" if failed else "finished",
                "error": "the loss is nan" if failed else None,
                "config": cell.variant.name,
                "map": None if failed else value,
                "seconds": 1.0,
                "metric_ids": IDS,
            }


@cache
def planned(variants: int, seeds: int) -> ablation_plan.AblationPlan:
    """A study of so many variants beside the reference."""
    levels = factor("srem.regions", *(10 * index for index in range(variants)))
    asked = Ablation("Is it better?", "retrieval", {"srem.regions": 500}, [levels], seeds=seeds)
    return ablation_plan.plan_ablation("simulated", asked, "laptop", "d" * 64)


@cache
def described(variants: int, seeds: int) -> StudyRecord:
    return describe.describe_ablation(planned(variants, seeds))


def simulate(task: FakeTask, seeds: int, studies: int = STUDIES, seed: int = 1) -> list[View]:
    """Studies as their report sees them."""
    rng = np.random.default_rng(seed)
    variants = len(task.effects)
    record = described(variants, seeds)
    views = []
    for _ in range(studies):
        ended = {row["cell"]: row for row in task.run(planned(variants, seeds), rng)}
        views.append(view(record, results.table(record, ended)))
    return views


def compared(studies: Sequence[View], position: int) -> list[Mapping[str, Any]]:
    """A variant's row in every study."""
    return [run.variants[position].compared for run in studies]


def coverage(rows: Sequence[Mapping[str, Any]], low: str, high: str, truth: float) -> float:
    found = [row for row in rows if row[low] is not None]
    return sum(row[low] <= truth <= row[high] for row in found) / len(found)


def standard_error(seeds: int) -> float:
    return NOISE * (2 / seeds) ** 0.5


def power(ratio: float, seeds: int, level: float = 0.05) -> float:
    """Of the two-sided paired t-test for an effect of so many standard errors, in the effect's direction."""
    return float(stats.nct.sf(stats.t.ppf(1 - level / 2, seeds - 1), seeds - 1, ratio))


def most(probability: float, number: int = STUDIES) -> int:
    """What a count exceeds once in a thousand times."""
    return int(stats.binom.ppf(0.999, number, probability))


def least(probability: float, number: int = STUDIES) -> int:
    """What a count falls short of once in a thousand times."""
    return int(stats.binom.ppf(0.001, number, probability))


TASKS = {
    "as textbooks have it": FakeTask((0.01, 0.0, -0.02)),
    "cells fail at random": FakeTask((0.01, 0.0, -0.02), failing=0.15),
    "seeds scatter unequally": FakeTask(
        (0.01, 0.0, -0.02), noise=lambda seed: NOISE * (0.6, 0.8, 1.0, 1.2, 1.4, 1.6)[seed]
    ),
}


def fast_first(names: Iterable[str]) -> list[Any]:
    """Return names as parameters, the first for the fast suite and the others for the slow one."""
    first, *others = names
    return [first, *(pytest.param(name, marks=SLOW) for name in others)]


@pytest.mark.parametrize("name", fast_first(TASKS))
def test_intervals_hold_the_truth_95_times_in_100(name: str):
    task = TASKS[name]
    studies = simulate(task, seeds=6)
    for position, effect in enumerate((0.0, *task.effects)):
        rows = compared(studies, position)
        shares = {"mean": coverage(rows, "ci_low", "ci_high", 0.6 + effect)}
        if position:
            shares["difference"] = coverage(rows, "delta_low", "delta_high", effect)
        print(f"{name}, variant {position}: {shares}")
        assert all(0.93 <= share <= 0.97 for share in shares.values())


NULLS = {
    "four comparisons": FakeTask((0.0,) * 4),
    "one comparison": FakeTask((0.0,)),
    "cells fail at random": FakeTask((0.0,) * 4, failing=0.15),
    "seeds scatter unequally": FakeTask((0.0,) * 4, noise=lambda seed: NOISE * (0.5 + 0.25 * seed)),
}


@pytest.mark.parametrize("name", fast_first(NULLS))
def test_without_an_effect_one_study_in_twenty_decides_anything(name: str):
    studies = simulate(NULLS[name], seeds=5, seed=2)
    wrong = sum(any(variant.verdict in ("better", "worse") for variant in run.variants) for run in studies)
    print(f"{name}: {wrong / STUDIES:.1%} of {STUDIES} studies decided something")
    assert wrong <= most(0.05)
    if len(NULLS[name].effects) == 1:
        assert wrong >= least(0.05)  # a level of 5 % that is never used would find nothing either
    else:
        uncorrected = sum(any((variant.compared["p"] or 1) <= 0.05 for variant in run.variants) for run in studies)
        assert uncorrected > most(0.05)  # so the bound above is Holm's doing


@pytest.mark.parametrize("ratio", [3.0, pytest.param(2.0, marks=SLOW), pytest.param(5.0, marks=SLOW)])
def test_one_planted_effect_is_found_as_often_as_theory_says(ratio: float):
    seeds = 5
    studies = simulate(FakeTask((ratio * standard_error(seeds),)), seeds, seed=3)
    found = sum(run.variants[1].verdict == "better" for run in studies)
    expected = power(ratio, seeds)
    print(f"{ratio} standard errors: found in {found / STUDIES:.1%}, theory {expected:.1%}")
    assert least(expected) <= found <= most(expected)


def test_of_several_effects_each_is_found_between_bonferronis_power_and_a_single_tests():
    seeds = 6
    ratios = (2.0, -4.0, 6.0, 8.0)
    studies = simulate(FakeTask(tuple(ratio * standard_error(seeds) for ratio in ratios)), seeds, seed=4)
    for position, ratio in enumerate(ratios, start=1):
        right = "better" if ratio > 0 else "worse"
        found = sum(run.variants[position].verdict == right for run in studies)
        bounds = power(abs(ratio), seeds, 0.05 / len(ratios)), power(abs(ratio), seeds)
        print(f"{ratio} standard errors: found in {found / STUDIES:.1%}, theory {bounds[0]:.1%} to {bounds[1]:.1%}")
        assert least(bounds[0]) <= found <= most(bounds[1])


def test_studies_from_files_have_the_verdicts_of_studies_in_memory(tmp_path: Path):
    task = FakeTask((2 * standard_error(4), 6 * standard_error(4)), failing=0.1)
    seeds = 4
    number = 100
    rng = np.random.default_rng(5)
    expected_runs = simulate(task, seeds, number, seed=5)
    for index, expected in enumerate(expected_runs):
        run = tmp_path / str(index)
        for row in task.run(planned(2, seeds), rng):
            results.write_cell(run / "cells", row)
        results.write_study(run, described(2, seeds))
        loaded = view(results.read_study(run), results.load(run))
        rows = list(csv.DictReader(io.StringIO(tables.csv_table(loaded).to_csv())))
        for row, variant in zip(rows, expected.variants, strict=True):
            assert (row["verdict"], int(row["failed"])) == (variant.verdict, variant.compared["failed"])
            for column in ("mean", "ci_low", "delta", "delta_high", "p_holm"):
                assert (float(row[column]) if row[column] else None) == variant.compared[column]
    assert {variant.verdict for run in expected_runs for variant in run.variants} >= {
        "reference",
        "better",
        "undecided",
    }


def test_two_seeds_have_no_interval_and_decide_nothing():
    (run,) = simulate(FakeTask((1.0,)), seeds=2, studies=1)
    row = run.variants[1].compared
    assert row["delta"] == pytest.approx(1.0, abs=0.1)
    assert (row["delta_low"], row["delta_high"], row["p"], row["decided"]) == (None, None, None, False)
    assert run.variants[1].verdict == "no interval"
