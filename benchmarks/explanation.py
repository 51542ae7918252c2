"""Measure what explanations of searches claim: error rates, coverage and power of simulated paths of known truth.

    python benchmarks/explanation.py [--quick]

A simulated search has eight changes between its reference and its best config. A change adds its effect; every config
has Gaussian noise of its own with every seed. Effects are in standard deviations of a paired difference. Two rules:
raysearch's, which chooses the order on three seeds and judges it on others; and the naive one, which judges a path on
the seeds that chose its order. A plain numpy rule runs 20,000 explanations per case. The first 200 also go through
`studies.analysis.change_path`, and the script fails where order, verdict or interval differ.

Races judge the path at 3, 5, 8, 12 and 20 seeds, and stop what is decided or within the margin. Beside them are the
same paths with 20 seeds for all. The first 40 also go through `studies.analysis.raced_path`. "After gain" are races of
searches whose judging seeds showed a gain of the best config, by a paired t-test. Both ends of the path use them again.

The last line is JSON: the share of explanations without any effect that claim something, by both rules, then all
figures.

Measured, 20,000 explanations per case:

- If nothing matters, raysearch's rule claims something in 4.8 % of explanations with 5 judging seeds, and in 4.6 % with
  10. Its intervals cover 95.0 %, and those of the first step 94.9 %.
- The naive rule overstates the first step: by 0.45 standard deviations of a paired difference with 5 seeds, where its
  interval covers 89.9 %. Later steps lose what the first one had by luck. So its claims are wrong less often (3.0 %),
  and its numbers are not those of the changes.
- If three of eight matter (8, 6 and 5 standard deviations), 5 seeds name all three in 98.7 % of explanations, and 10
  seeds in all. With a margin of 1.5 and 10 seeds, 96.9 % of the comparisons of the other five end within the margin.
- Races claim something in 4.3 % of explanations if nothing matters, and in 1.8 % with a margin of 1.5. All intervals of
  a comparison hold together in 95.7 %. After a gain by luck (2.5 % of searches) it is 5 to 7 % (500 races), and 10 %
  with the five seeds of the search alone.
- If three of eight matter, races find all three like 20 seeds for all, claim something wrong in 4.1 %, and save 26 % of
  the judging cells: 237 of 320. With a margin of 1.5 they save 51 %. Without a margin a race in which nothing matters
  saves nothing. Of small effects races find 28.3 %, and 20 seeds for all 31.6 %.
"""

from typing import Any

import numpy as np
from explained import races
from explained.paths import (
    CASES,
    CHANGES,
    LEVEL,
    NAMES,
    RACED_CASES,
    SPREAD,
    Case,
    Draws,
    Outcome,
    choose_order,
    draw,
    shipped_cells,
)
from rich.console import Console
from rich.table import Table
from scipy import special
from script import make_parser, print_figures

from raysearch.studies.analysis import change_path


def judge(differences: np.ndarray, margin: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return verdicts and bounds of 95 % intervals; Holm's correction is over each explanation.

    Args:
        differences: (explanations, comparisons, seeds).
        margin: in the unit of the metric.
    """
    seeds = differences.shape[2]
    means = differences.mean(axis=2)
    errors = differences.std(axis=2, ddof=1) / np.sqrt(seeds)
    p_values = 2 * special.stdtr(seeds - 1, -np.abs(means) / errors)
    ranks = p_values.argsort(axis=1).argsort(axis=1)
    family = p_values.shape[1]
    scaled = np.sort(p_values, axis=1) * (family - np.arange(family))
    adjusted = np.take_along_axis(np.maximum.accumulate(scaled, axis=1), ranks, axis=1)
    half_width = special.stdtrit(seeds - 1, 1 - LEVEL / 2) * errors
    low = means - half_width
    high = means + half_width
    verdicts = np.where(adjusted <= LEVEL, np.sign(means), 0).astype(int)
    if margin is not None:
        verdicts[(verdicts == 0) & (low >= -margin) & (high <= margin)] = 2
    return verdicts, low, high


def explain(case: Case, draws: Draws) -> Outcome:
    """Explain by raysearch's rule, written in numpy: order on some seeds, verdicts on others."""
    effects = SPREAD * np.array(case.effects)
    order, _ = choose_order(draws.candidates, draws.start, effects)
    truth = effects[order]
    steps = truth[:, :, None] + np.diff(draws.path, axis=1)
    left_out = truth[:, :-1, None] + draws.path[:, -1:] - draws.left_out
    margin = None if case.margin is None else case.margin * SPREAD
    verdicts, low, high = judge(np.concatenate([steps, left_out], axis=1), margin)
    return Outcome(order, verdicts, low, high, np.concatenate([truth, truth[:, :-1]], axis=1))


def explain_naively(case: Case, number: int, seed: int = 1) -> Outcome:
    """Explain by the naive rule: the seeds that chose the order judge it too, as many as raysearch's rule judges by."""
    rng = np.random.default_rng([seed, CASES.index(case)])
    noise = SPREAD / np.sqrt(2)
    effects = SPREAD * np.array(case.effects)
    candidates = rng.normal(0, noise, (number, CHANGES, CHANGES, case.judging))
    order, steps = choose_order(candidates, rng.normal(0, noise, (number, case.judging)), effects)
    margin = None if case.margin is None else case.margin * SPREAD
    verdicts, low, high = judge(steps, margin)
    return Outcome(order, verdicts, low, high, effects[order])


def explain_as_shipped(case: Case, draws: Draws, index: int) -> tuple[list[str], list[dict[str, Any]]]:
    """Explain one of the simulated searches by raysearch; return its path and the rows of its comparisons."""
    path, table, pairs = shipped_cells(case, draws, index)
    margin = None if case.margin is None else case.margin * SPREAD
    return path, change_path.judge(table, "map", pairs, "max", margin)


def check_shipped(case: Case, draws: Draws, outcome: Outcome, number: int) -> None:
    """Check that raysearch and the numpy rule agree on the first explanations.

    Raises:
        SystemExit: an order, a verdict or a bound differs.
    """
    words = {"better": 1, "worse": -1, "undecided": 0, "within margin": 2}
    for index in range(number):
        path, rows = explain_as_shipped(case, draws, index)
        bounds = np.array([(row["delta_low"], row["delta_high"]) for row in rows])
        agrees = (
            path == [NAMES[change] for change in outcome.order[index]]
            and [words[row["verdict"]] for row in rows] == outcome.verdicts[index].tolist()
            and np.allclose(bounds.T, [outcome.low[index], outcome.high[index]], atol=1e-9)
        )
        if not agrees:
            raise SystemExit(f"{case.name}: raysearch and the plain rule differ in explanation {index}")


def figures_of(outcome: Outcome) -> dict[str, float]:
    """Return the shares of an outcome: errors, coverage, power, and what becomes of changes that do nothing."""
    null = outcome.truth == 0
    claimed = np.isin(outcome.verdicts, (-1, 1))
    wrong = claimed & (null | (np.sign(outcome.truth) != outcome.verdicts))
    covered = (outcome.low <= outcome.truth) & (outcome.truth <= outcome.high)
    bias = ((outcome.low + outcome.high) / 2 - outcome.truth)[:, 0] / SPREAD
    figures = {
        "any_wrong_claim": wrong.any(axis=1).mean(),
        "coverage": covered.mean(),
        "coverage_first_step": covered[:, 0].mean(),
        "bias_first_step": bias.mean(),
    }
    if not null.all():
        figures["power"] = (claimed & ~null)[~null].mean()
        figures["all_found"] = (claimed | null).all(axis=1).mean()
    if null.any():
        figures["null_within_margin"] = (outcome.verdicts == 2)[null].mean()
    return {name: float(value) for name, value in figures.items()}


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="2,000 explanations per case instead of 20,000")
    is_quick = parser.parse_args().quick
    number = 2_000 if is_quick else 20_000
    shares = ("any_wrong_claim", "coverage", "coverage_first_step", "power", "all_found", "null_within_margin")
    table = Table("case", "rule", *(name.replace("_", " ") for name in shares), "bias first step")
    results: dict[str, Any] = {}
    for case in CASES:
        draws = draw(case, number)
        outcome = explain(case, draws)
        check_shipped(case, draws, outcome, 20 if is_quick else 200)
        results[case.name] = {
            "raysearch": figures_of(outcome),
            "naive": figures_of(explain_naively(case, number)),
        }
        for rule, figures in results[case.name].items():
            cells = [figures.get(name) for name in shares]
            texts = ["" if value is None else f"{value:.1%}" for value in cells]
            table.add_row(case.name, rule, *texts, f"{figures['bias_first_step']:+.2f} sd")
    console = Console()
    console.width = max(console.width, 120)
    console.print(table)
    first = results[CASES[0].name]
    head = {f"{name}_{rule}": first[rule][name] for name in ("any_wrong_claim", "bias_first_step") for rule in first}
    raced = race_all(number, is_quick, console)
    head["any_wrong_claim_race"] = raced[RACED_CASES[0].name]["any_wrong_claim"]
    print_figures({**head, "explanations": number, "figures": results, "races": raced})


def race_all(number: int, is_quick: bool, console: Console) -> dict[str, dict[str, float]]:
    """Race the cases that looks judge, print a table with a column per case, and return their figures."""
    results = {}
    for case in RACED_CASES:
        draws = draw(case, number)
        outcome = races.race(case, draws)
        races.check_shipped(case, draws, outcome, 4 if is_quick else 40)
        results[case.name] = races.figures_of(outcome)
    table = Table("figure", *results)
    for name in dict.fromkeys(name for figures in results.values() for name in figures):
        values = [figures.get(name) for figures in results.values()]
        texts = ["" if value is None else f"{value:.0f}" if "cells" in name else f"{value:.1%}" for value in values]
        table.add_row(name.replace("_", " "), *texts)
    console.print(table)
    return results


if __name__ == "__main__":
    main()
