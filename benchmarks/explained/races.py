"""Simulated paths that are judged at looks, by the plain rule of adaptive studies and by raysearch."""

from dataclasses import dataclass

import numpy as np
from adaptive import rules
from scipy import special

from explained.paths import SPREAD, Case, Draws, choose_order, shipped_cells
from raysearch.studies.analysis import raced_path

SEARCHED = 5  # seeds on which the search has judged both ends


@dataclass(frozen=True)
class RacedOutcome:
    """The ends of races, beside the same paths with all seeds.

    Attributes:
        order: number of the change at each step (explanations, steps).
        truth: the true gains (explanations, comparisons).
        raced: by looks.
        fixed: with the seeds of the last look for every comparison.
        searched: with those of the search alone.
        cells: that judge each path (explanations,).
        searched_gain: whether the search has shown a gain of the best config (explanations,).
    """

    order: np.ndarray
    truth: np.ndarray
    raced: rules.Outcome
    fixed: rules.Outcome
    searched: rules.Outcome
    cells: np.ndarray
    searched_gain: np.ndarray


def race(case: Case, draws: Draws) -> RacedOutcome:
    """Race the paths of a case."""
    effects = SPREAD * np.array(case.effects)
    order, _ = choose_order(draws.candidates, draws.start, effects)
    gains = effects[order]
    steps = gains[:, :, None] + np.diff(draws.path, axis=1)
    left_out = gains[:, :-1, None] + draws.path[:, -1:] - draws.left_out
    differences = np.concatenate([steps, left_out], axis=1)
    truth = np.concatenate([gains, gains[:, :-1]], axis=1)
    margin = None if case.margin is None else case.margin * SPREAD
    raced = rules.run_adaptive(differences, truth, rules.LOOKS, margin)
    whole = effects.sum() + (draws.path[:, -1] - draws.path[:, 0])[:, :SEARCHED]
    statistic = whole.mean(axis=1) / (whole.std(axis=1, ddof=1) / np.sqrt(SEARCHED))
    return RacedOutcome(
        order=order,
        truth=truth,
        raced=raced,
        fixed=rules.run_fixed(differences, truth),
        searched=rules.run_fixed(differences[..., :SEARCHED], truth),
        cells=count_cells(raced.seeds, len(case.effects)),
        searched_gain=statistic > special.stdtrit(SEARCHED - 1, 0.975),
    )


def count_cells(seeds: np.ndarray, changes: int) -> np.ndarray:
    """Return the cells that judge each path: a config has the seeds of its comparison that goes on longest.

    Args:
        seeds: of the steps, then of the changes that are left out but the last (explanations, comparisons).
        changes: number of changes.
    """
    steps = seeds[:, :changes]
    left_out = seeds[:, changes:]
    path = np.zeros((len(seeds), changes + 1), int)
    path[:, :-1] = steps
    path[:, 1:] = np.maximum(path[:, 1:], steps)
    path[:, -1] = np.maximum(path[:, -1], left_out.max(axis=1))
    path[:, [0, -1]] = np.maximum(path[:, [0, -1]], SEARCHED)
    return path.sum(axis=1) + left_out.sum(axis=1)


def check_shipped(case: Case, draws: Draws, outcome: RacedOutcome, number: int) -> None:
    """Check that raysearch and the plain rule agree on the first races.

    Raises:
        SystemExit: a verdict, a number of seeds, or an interval differs.
    """
    words = {"better": 1, "worse": -1, "undecided": 0, "within margin": rules.WITHIN}
    margin = None if case.margin is None else case.margin * SPREAD
    for index in range(number):
        _, table, pairs = shipped_cells(case, draws, index)
        seeds = sorted(set(table["seed"].to_pylist()))
        rows = [
            raced.row
            for raced in raced_path.judge_race(table, "map", pairs, raced_path.Race(rules.LOOKS, seeds, margin))
        ]
        covered = [
            row["delta_low"] <= truth <= row["delta_high"]
            for row, truth in zip(rows, outcome.truth[index], strict=True)
        ]
        agrees = (
            [words[row["verdict"]] for row in rows] == outcome.raced.verdicts[index].tolist()
            and [rules.LOOKS[row["look"] - 1] for row in rows] == outcome.raced.seeds[index].tolist()
            and covered == outcome.raced.covered[index].tolist()
        )
        if not agrees:
            raise SystemExit(f"{case.name}: raysearch and the plain rule differ in race {index}")


def figures_of(outcome: RacedOutcome) -> dict[str, float]:
    """Return the shares of races: errors, coverage, power, and cells saved."""
    null = outcome.truth == 0
    wrong = _wrong_claims(outcome.raced.verdicts, outcome.truth)
    gained = outcome.searched_gain
    most = (2 * outcome.order.shape[1]) * rules.LOOKS[-1]
    figures = {
        "any_wrong_claim": wrong.mean(),
        "any_wrong_claim_fixed": _wrong_claims(outcome.fixed.verdicts, outcome.truth).mean(),
        "search_gained": gained.mean(),
        "any_wrong_claim_after_gain": _mean(wrong[gained]),
        "any_wrong_claim_after_gain_5_seeds": _mean(_wrong_claims(outcome.searched.verdicts, outcome.truth)[gained]),
        "coverage": outcome.raced.covered.mean(),
        "coverage_of_all_looks": outcome.raced.always_covered.mean(),
        "cells": outcome.cells.mean(),
        "cells_fixed": most,
        "saved": 1 - outcome.cells.mean() / most,
    }
    if not null.all():
        figures["power"] = np.isin(outcome.raced.verdicts, (-1, 1))[~null].mean()
        figures["power_fixed"] = np.isin(outcome.fixed.verdicts, (-1, 1))[~null].mean()
        figures["all_found"] = (np.isin(outcome.raced.verdicts, (-1, 1)) | null).all(axis=1).mean()
    if null.any():
        figures["null_within_margin"] = (outcome.raced.verdicts == rules.WITHIN)[null].mean()
    return {name: float(value) for name, value in figures.items()}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0


def _wrong_claims(verdicts: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return which explanations claim something that is not so."""
    claimed = np.isin(verdicts, (-1, 1))
    return (claimed & ((truth == 0) | (np.sign(truth) != verdicts))).any(axis=1)
