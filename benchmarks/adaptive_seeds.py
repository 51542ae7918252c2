"""Measure what adaptive seeds save and what they keep: error rates, coverage and power of simulated and real studies.

    python benchmarks/adaptive_seeds.py [--quick]

Simulated studies have seven variants against a reference and looks at 3, 5, 8, 12 and 20 seeds. Noise is Gaussian,
Student's t with five degrees of freedom, or exponential for the variants alone ("skewed"). Effects and margins are in
standard deviations of a paired difference. Three ways: adaptive; 20 seeds for every variant; and naive, which raises
the seeds of all variants until any difference is decided, as people do. A plain numpy rule runs 20,000 studies per
case. The first 2,000 also go through raysearch: plan, the store's table as a Parquet file, and
`statistics.adaptive`. Verdict, seeds and interval must be equal for every comparison, or the script fails. So must the
verdicts of ten reports per case, from run directories with a file per cell.

Recorded studies are `recorded/seed_grid.parquet`: nine variants of a real small network against a reference, 20 seeds,
in 1,000 random orders of the seeds. A study contradicts the verdicts of all 20 seeds if it decides a comparison that
they leave undecided, or decides it in the other direction.

The last line is JSON: shares of cells saved and ratios of power, then all figures.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from adaptive import orders, rules, studies
from rich.console import Console
from rich.table import Table
from script import make_parser, print_figures

from raysearch.studies.analysis import skewness

MARGIN = 0.02  # of the recorded accuracy

EFFECTS = ((0.0,) * 7, (2.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.5, -1.0, 1.0, 2.0, -2.0, 4.0))
CASES = (
    *(studies.Case(noise, effects) for noise in ("Gaussian", "t5", "skewed") for effects in EFFECTS),  # type: ignore[arg-type]
    *(studies.Case("Gaussian", effects, margin=1.5) for effects in EFFECTS),
    studies.Case("Gaussian", EFFECTS[0], margin=1.0),
    studies.Case("t5", EFFECTS[0], margin=1.5),
)


@dataclass(frozen=True)
class Sizes:
    """How much is simulated.

    Attributes:
        plain: studies per case by the plain rule.
        shipped: studies per case that also go through raysearch's statistics.
        reports: studies per case that also go through a file per cell and the report.
        checked: studies per case that are tested for skewness: the sign-flip test counts half a million flips.
        orders: of the seeds of the recorded study.
    """

    plain: int = 20_000
    shipped: int = 2_000
    reports: int = 10
    checked: int = 100
    orders: int = 1_000


QUICK = Sizes(plain=2_000, shipped=50, reports=1, checked=5, orders=50)


def summarize(outcome: rules.Outcome, effects: Sequence[float]) -> dict[str, float]:
    """Return the figures of a way to run studies.

    Args:
        outcome: of the studies.
        effects: the true ones.
    """
    signs = np.sign(effects)
    is_real = signs != 0
    claims = np.abs(outcome.verdicts) == 1
    wrong = claims & (outcome.verdicts != signs)
    figures = {
        "family_wise_error": float(wrong.any(axis=1).mean()),
        "cells": float(outcome.cells.mean()),
        "coverage": float(outcome.covered.mean()),
        "coverage_of_all_looks": float(outcome.always_covered.mean()),
        "within_margin": float((outcome.verdicts == rules.WITHIN).mean()),
    }
    if is_real.any():
        figures["power"] = float((claims & ~wrong)[:, is_real].mean())
    return figures


def run_case(case: studies.Case, sizes: Sizes) -> dict[str, Any]:
    """Return the figures of a case: each way to run it, the studies that raysearch judged, and its skewness.

    Raises:
        SystemExit: raysearch and the plain rule differ.
    """
    values = studies.draw_values(case, sizes.plain)
    differences = values[:, 1:] - values[:, :1]
    effects = studies.SPREAD * np.array(case.effects)
    margin = None if case.margin is None else case.margin * studies.SPREAD
    plain = rules.run_adaptive(differences, effects, margin=margin)
    with tempfile.TemporaryDirectory() as folder:
        shipped = studies.judge_all(case, values[: sizes.shipped], plain, Path(folder))
        studies.check_reports(case, values[: sizes.reports], plain, Path(folder))
    for name in ("verdicts", "seeds", "covered"):
        if not np.array_equal(getattr(shipped, name), getattr(plain, name)[: sizes.shipped]):
            raise SystemExit(f"{case.name}: raysearch and the plain rule differ in {name}")
    exact = replace(shipped, always_covered=plain.always_covered[: sizes.shipped])
    return {
        "adaptive": summarize(plain, case.effects),
        "adaptive_by_raysearch": summarize(exact, case.effects) | {"studies": sizes.shipped},
        "fixed": summarize(rules.run_fixed(differences, effects), case.effects),
        "naive": summarize(rules.run_naive(differences, effects), case.effects),
        "skewness": check_skewness(differences[: sizes.checked], case.effects),
    }


def check_skewness(differences: np.ndarray, effects: Sequence[float]) -> dict[str, float]:
    """Return the shares of studies (studies, variants, seeds) with a warning, and with a false sign-flip verdict."""
    warned = 0
    wrong = 0
    for study in differences:
        tests = skewness.check({str(name): list(values) for name, values in enumerate(study)})
        warned += any(test.is_skewed for test in tests.values())
        wrong += any(
            test.sign_flip_p is not None and test.sign_flip_p <= 0.05 and not effect
            for test, effect in zip(tests.values(), effects, strict=True)
        )
    return {"warned": warned / len(differences), "sign_flip_error": wrong / len(differences)}


def run_recorded(count: int, margin: float | None) -> dict[str, Any]:
    """Return the figures of the recorded study in random orders of its seeds."""
    table, reference = orders.read_recorded()
    outcome = orders.replay(table, reference, count, margin)
    return {
        "orders": count,
        "comparisons": outcome.comparisons,
        "decided_by_all_seeds": outcome.decided,
        "contradicted": outcome.contradicted,
        "opposite": float(outcome.opposite.mean()),
        "missed": float(outcome.missed.mean()),
        "within_margin": float(outcome.within.mean()),
        "saved": outcome.saved,
    }


def print_cases(cases: dict[str, Any]) -> None:
    """Print a row per case."""
    table = Table(title="seven variants, looks at 3, 5, 8, 12, 20; each cell: adaptive / 20 seeds / naive")
    for column in ("case", "family-wise error", "power", "cells", "coverage", "at all looks", "warned", "sign flip"):
        table.add_column(column, justify="left" if column == "case" else "right", no_wrap=True)
    for name, case in cases.items():
        ways = [case[way] for way in ("adaptive", "fixed", "naive")]
        table.add_row(
            name,
            " / ".join(f"{way['family_wise_error']:.1%}" for way in ways),
            " / ".join(f"{way['power']:.2f}" if "power" in way else "-" for way in ways),
            " / ".join(f"{way['cells']:.0f}" for way in ways),
            " / ".join(f"{way['coverage']:.1%}" for way in ways),
            f"{ways[0]['coverage_of_all_looks']:.1%}",
            f"{case['skewness']['warned']:.0%}",
            f"{case['skewness']['sign_flip_error']:.0%}",
        )
    console = Console()
    console.width = max(console.width, 190)  # otherwise names are cut off where there is no terminal
    console.print(table)


def saved(case: dict[str, Any]) -> float:
    """Return the share of the cells of a fixed study that an adaptive one saves."""
    return 1 - case["adaptive"]["cells"] / case["fixed"]["cells"]


def main() -> None:
    """Run the benchmark."""
    quick = make_parser(__doc__, quick="fewer studies and orders").parse_args().quick
    sizes = QUICK if quick else Sizes()
    os.environ["OMP_NUM_THREADS"] = "1"  # per process, because there is one process per core
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        recorded_runs = {
            name: pool.submit(run_recorded, sizes.orders, margin)
            for name, margin in (("no margin", None), (f"margin {MARGIN:g}", MARGIN))
        }
        runs = {case.name: pool.submit(run_case, case, sizes) for case in CASES}
        cases = {name: run.result() for name, run in runs.items()}
        recorded = {name: run.result() for name, run in recorded_runs.items()}
    print_cases(cases)
    for name, figures in recorded.items():
        mean, low, high = figures["saved"]
        print(
            f"recorded trainings, {name}: {mean:.0%} of the cells saved ({low:.0%} to {high:.0%} in 95 % of orders), "
            f"{figures['contradicted']:.1%} of {figures['orders']:,} orders contradict the verdicts of all seeds"
        )
    figures = {f"saved: {name}": saved(case) for name, case in cases.items()}
    figures |= {
        f"power over fixed: {name}": case["adaptive"]["power"] / case["fixed"]["power"]
        for name, case in cases.items()
        if "power" in case["adaptive"]
    }
    figures |= {f"saved: recorded, {name}": figure["saved"][0] for name, figure in recorded.items()}
    print_figures({**figures, "cases": cases, "recorded": recorded})


if __name__ == "__main__":
    main()
