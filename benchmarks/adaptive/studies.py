"""Simulated studies of known truth, and their way through raysearch: plan, Parquet file, statistics and report."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from adaptive import rules

from dashboards import report
from dashboards.ablation.view import view
from raysearch import Ablation, Adaptive, factor
from raysearch.runs import StudyRecord, describe, results
from raysearch.studies import statistics
from raysearch.studies.analysis import looks as look_rule
from raysearch.studies.design import AblationPlan, plan_ablation

Noise = Literal["Gaussian", "t5", "skewed"]
SPREAD = 0.005  # standard deviation of a paired difference
LEVELS = 0.03  # of the seeds, common to all variants
IDS = json.dumps({"map": "map@all/expected-ties/test"})
STEPS = json.dumps({"map": 1e-9})


@dataclass(frozen=True)
class Case:
    """Studies with a kind of noise and true effects.

    Args:
        noise: of a cell. "skewed" is exponential, for the variants alone: the reference then has none, so that the
            differences are as skewed.
        effects: of the variants, in standard deviations of a paired difference.
        margin: of a difference that does not matter, in the same unit.
    """

    noise: Noise
    effects: tuple[float, ...]
    margin: float | None = None

    @property
    def name(self) -> str:
        """The case in a few words."""
        effects = {0: "all null", 2: "two real"}.get(sum(map(bool, self.effects)), "mixed")
        return f"{self.noise}, {effects}" + (f", margin {self.margin:g}" if self.margin is not None else "")


def draw_values(case: Case, studies: int, seed: int = 0) -> np.ndarray:
    """Return the metric of every cell (studies, reference and variants, seeds)."""
    rng = np.random.default_rng(seed)
    shape = (studies, 1 + len(case.effects), rules.LOOKS[-1])
    if case.noise == "skewed":
        noise = rng.exponential(size=shape) - 1
        noise[:, 0] = 0
    elif case.noise == "t5":
        noise = rng.standard_t(5, shape) / np.sqrt(2 * 5 / 3)
    else:
        noise = rng.normal(size=shape) / np.sqrt(2)
    levels = rng.normal(0, LEVELS, (studies, 1, rules.LOOKS[-1]))
    effects = np.array([0.0, *case.effects])[:, None]
    return 0.6 + levels + SPREAD * (noise + effects)


def planned(variants: int, margin: float | None = None) -> AblationPlan:
    """Return the plan of an adaptive study of so many variants beside the reference."""
    regions = factor("srem.regions", *(10 * index for index in range(variants)))
    seeds = Adaptive(rules.LOOKS, margin and margin * SPREAD)
    ablation = Ablation("Is it better?", "retrieval", {"srem.regions": 500}, [regions], seeds=seeds)
    return plan_ablation("simulated", ablation, "laptop", "d" * 64)


@cache
def described(variants: int, margin: float | None = None) -> tuple[AblationPlan, StudyRecord]:
    """Return the plan of a study and its record."""
    plan = planned(variants, margin)
    return plan, describe.describe_ablation(plan)


def cell_rows(plan: AblationPlan, values: np.ndarray, seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Return the ended cells of a study by hash, as `results.write_cell` takes them.

    Args:
        plan: of the study.
        values: metrics (reference and variants, seeds).
        seeds: how many seeds of each variant have ended.
    """
    positions = {variant.name: position for position, variant in enumerate(plan.variants)}
    return {
        cell.hash: {
            "seed": cell.seed,
            "cell": cell.hash,
            "status": "finished",
            "config": cell.variant.name,
            "map": float(values[positions[cell.variant.name], cell.seed]),
            "seconds": 1.0,
            "metric_ids": IDS,
            "metric_steps": STEPS,
        }
        for cell in plan.cells
        if cell.seed < seeds[positions[cell.variant.name]]
    }


def judge(case: Case, values: np.ndarray, seeds: Sequence[int], folder: Path) -> list[dict[str, Any]]:
    """Return the rows of `statistics.adaptive` of a study, variants in the order of the case.

    Args:
        case: the study's.
        values: see `cell_rows`.
        seeds: that the variants had when the plain rule ended them.
        folder: for the table's Parquet file.

    Raises:
        SystemExit: raysearch wants more cells than the plain rule, or the report has other verdicts.
    """
    plan, record = described(len(case.effects), case.margin)
    ended = cell_rows(plan, values, [max(seeds), *seeds])
    path = folder / "results.parquet"
    pq.write_table(results.table(record, ended), path)
    table = pq.read_table(path)
    margin = case.margin and case.margin * SPREAD
    rows = statistics.adaptive(table, "map", dict(plan.references), rules.LOOKS, margin).to_pylist()
    if any(row["verdict"] == look_rule.UNDECIDED and row["look"] < len(rules.LOOKS) for row in rows):
        raise SystemExit(f"{case.name}: raysearch would run cells that the plain rule does not need")
    by_name = {row["variant"]: row for row in rows}
    shown = view(record, table)
    if any(shown.named[name].verdict != row["verdict"] for name, row in by_name.items() if row["verdict"]):
        raise SystemExit(f"{case.name}: the report has other verdicts than the statistics")
    return [by_name[variant.name] for variant in plan.variants[1:]]


VERDICTS = {"better": 1, "worse": -1, look_rule.WITHIN: rules.WITHIN, look_rule.UNDECIDED: 0}


def judge_all(case: Case, values: np.ndarray, plain: rules.Outcome, folder: Path) -> rules.Outcome:
    """Return the outcome of studies by raysearch, given that of the plain rule, whose cells are run."""
    studies = [judge(case, values[index], plain.seeds[index].tolist(), folder) for index in range(len(values))]
    effects = SPREAD * np.array(case.effects)
    low, high = (np.array([[row[name] for row in rows] for rows in studies]) for name in ("delta_low", "delta_high"))
    covered = (low <= effects) & (effects <= high)
    return rules.Outcome(
        verdicts=np.array([[VERDICTS[row["verdict"]] for row in rows] for rows in studies]),
        seeds=np.array([[row["seeds"] for row in rows] for rows in studies]),
        covered=covered,
        always_covered=covered,
    )


def check_reports(case: Case, values: np.ndarray, plain: rules.Outcome, folder: Path) -> None:
    """Check that the reports of studies show the verdicts of the plain rule.

    Args:
        case: the studies'.
        values: metrics (studies, reference and variants, seeds).
        plain: the outcome of these studies, or of more.
        folder: for the run directories: a Parquet file per cell, study.json, and the page of the first study.

    Raises:
        SystemExit: a report shows another verdict.
    """
    plan, record = described(len(case.effects), case.margin)
    for index, study_values in enumerate(values):
        seeds = plain.seeds[index].tolist()
        run_dir = folder / str(index)
        results.write_study(run_dir, record)
        for row in cell_rows(plan, study_values, [max(seeds), *seeds]).values():
            results.write_cell(run_dir / "cells", row)
        if index == 0:
            report.write(run_dir)
        shown = view(results.read_study(run_dir), results.load(run_dir))
        verdicts = [VERDICTS[shown.named[variant.name].verdict] for variant in plan.variants[1:]]
        if verdicts != plain.verdicts[index].tolist():
            raise SystemExit(f"{case.name}: the report of study {index} shows other verdicts than the plain rule")
