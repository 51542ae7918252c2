"""Runs side by side: refused runs, matched variants, and numbers that equal scipy's."""

import csv
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy import stats

from dashboards.comparison import figures, tables
from dashboards.comparison import page as comparison_page
from dashboards.comparison.view import Match, read_comparison, run_names
from raysearch.core import UserError
from raysearch.runs import results
from raysearch.studies.analysis import statistics

from ...browser import chromium, needs_chromium
from ..conftest import write_search
from ..written import write


def random_values(seeds: range, mean: float = 0.6, spread: float = 0.01, start: int = 0) -> dict[int, float | None]:
    rng = random.Random(start)
    return {seed: rng.gauss(mean, spread) for seed in seeds}


def by_label(*runs: Path) -> dict[str, Match]:
    return {match.label: match for match in read_comparison(runs).matches}


def test_common_seeds_are_paired_as_in_scipy(tmp_path: Path):
    first = random_values(range(5))
    second = random_values(range(2, 9), 0.63, start=1)
    both = write(tmp_path / "a", {"reference": first}), write(tmp_path / "b", {"reference": second})
    difference = by_label(*both)["reference"].difference
    common = range(2, 5)
    expected = stats.ttest_rel([second[seed] for seed in common], [first[seed] for seed in common])
    assert (difference.test, difference.seeds) == ("paired", (3, 3))
    assert difference.p == pytest.approx(expected.pvalue)
    assert (difference.low, difference.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_other_seeds_get_welchs_interval(tmp_path: Path):
    first = random_values(range(5), spread=0.002)
    second = random_values(range(4, 12), 0.63, spread=0.03, start=1)  # one seed in common
    both = write(tmp_path / "a", {"reference": first}), write(tmp_path / "b", {"reference": second})
    match = by_label(*both)["reference"]
    expected = stats.ttest_ind(list(second.values()), list(first.values()), equal_var=False)
    assert (match.difference.test, match.difference.seeds) == ("Welch", (8, 5))
    assert match.difference.p == pytest.approx(expected.pvalue)
    bounds = expected.confidence_interval(0.95)
    assert (match.difference.low, match.difference.high) == pytest.approx((bounds.low, bounds.high))
    assert tables.test_text(match) == "Welch, 8 and 5 seeds"


@pytest.mark.parametrize("seeds", [(2, 5), (5, 2), (1, 1)])
def test_too_few_seeds_give_no_verdict_and_the_reason(tmp_path: Path, seeds: tuple[int, int]):
    both = [
        write(tmp_path / str(index), {"reference": random_values(range(number), start=index)})
        for index, number in enumerate(seeds)
    ]
    match = by_label(*both)["reference"]
    assert (match.verdict, match.difference.low, match.difference.p) == ("no interval", None, None)
    assert match.difference.delta is not None
    assert "needs three" in tables.test_text(match)


def test_holm_goes_over_all_runs_and_variants(tmp_path: Path):
    names = ["reference", "a", "b"]
    runs = [
        write(
            tmp_path / f"r{index}",
            {name: random_values(range(4), start=index * 10 + place) for place, name in enumerate(names)},
        )
        for index in range(3)
    ]
    differences = [match.difference for match in read_comparison(runs).matches]
    assert len(differences) == 6
    corrected = [difference.p_holm for difference in differences]
    assert corrected == statistics.holm([difference.p for difference in differences])
    ratios = [difference.p_holm / difference.p for difference in differences if difference.p and difference.p_holm]
    assert max(ratios) == pytest.approx(6)


def test_a_planted_difference_is_decided_in_its_direction(tmp_path: Path):
    base = random_values(range(6))
    shifted = {seed: value + 0.05 + 0.0001 * seed for seed, value in base.items() if value is not None}
    high = write(tmp_path / "a", {"reference": base}), write(tmp_path / "b", {"reference": shifted})
    assert by_label(*high)["reference"].verdict == "better"
    low = (
        write(tmp_path / "c", {"reference": base}, mode="min"),
        write(tmp_path / "d", {"reference": shifted}, mode="min"),
    )
    assert by_label(*low)["reference"].verdict == "worse"
    assert comparison_page.answer_sentence(read_comparison(high)).startswith(
        "Significantly better than in a: reference +0.050"
    )


def test_variants_are_matched_by_name_and_by_config(tmp_path: Path):
    config_50 = {"srem": {"regions": 50}}
    config_10 = {"srem": {"regions": 10}}
    first = write(
        tmp_path / "a",
        {
            "reference": random_values(range(4)),
            "r=10": random_values(range(4), start=1),
            "gone": random_values(range(4), start=2),
        },
        {"reference": config_50, "r=10": config_10},
    )
    second = write(
        tmp_path / "b",
        {"reference": random_values(range(4), start=3), "new": random_values(range(4), start=4)},
        {"reference": config_10},
    )
    matches = by_label(first, second)
    assert set(matches) == {"reference", "reference (there r=10)"}
    assert matches["reference"].changes == ["srem.regions: 50 → 10"]
    assert matches["reference (there r=10)"].changes == []
    page = comparison_page.build_page(read_comparison([first, second]))
    assert "not in this run" in page
    assert "srem.regions: 50 → 10" in page


def test_cells_that_both_runs_contain_are_not_tested(tmp_path: Path):
    first = write(tmp_path / "a" / "run", {"reference": random_values(range(5)), "a": random_values(range(5), start=1)})
    second = write(
        tmp_path / "b" / "run", {"reference": random_values(range(5)), "a": random_values(range(5), start=1)}
    )
    shown = read_comparison([first, second])
    assert {match.verdict for match in shown.matches} == {"same cells"}
    assert {match.difference.p for match in shown.matches} == {None}
    assert "same cells" in comparison_page.answer_sentence(shown)


def test_failed_cells_are_counted_and_not_paired(tmp_path: Path):
    values = random_values(range(5), start=1) | {1: None}
    both = write(tmp_path / "a", {"reference": random_values(range(5))}), write(tmp_path / "b", {"reference": values})
    shown = read_comparison(both)
    assert shown.matches[0].difference.seeds == (4, 4)
    rows = list(csv.DictReader(io.StringIO(tables.means_csv(shown))))
    assert [(row["run"], row["seeds"], row["failed"]) for row in rows] == [("a", "5", "0"), ("b", "4", "1")]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another task": ({"task": "fewshot"}, r"tasks are retrieval and fewshot"),
    "another metric": ({"metric": "accuracy"}, r"metrics are map and accuracy"),
    "another direction": ({"mode": "min"}, r"max and min"),
    "another definition": (
        {"cells": {"metric_ids": json.dumps({"map": "map@1000/index-order/test"})}},
        r"map@all/expected-ties/test and map@1000/index-order/test",
    ),
    "other data": ({"cells": {"data": "e" * 64}}, r"content hashes of their data are d+ and e+"),
    "another side": ({"configs": {"reference": {"data": {"side": 96}}}}, r"data.side is 64 and 96"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_runs_that_differ_are_refused_with_both_values(tmp_path: Path, name: str):
    changes, words = REFUSED[name]
    first = write(tmp_path / "a", {"reference": random_values(range(4))})
    with pytest.raises(UserError, match=rf"'a' and 'b' cannot be compared: .*{words}"):
        read_comparison([first, write(tmp_path / "b", {"reference": random_values(range(4))}, **changes)])


def test_episodes_of_another_protocol_are_refused_and_a_factor_is_not(tmp_path: Path):
    config = lambda shots, seed=0: {"episodes": {"shots": shots, "seed": seed}, "data": {"side": 84}}  # noqa: E731
    ids = lambda shots: json.dumps({"map": f"accuracy@5-way-{shots}-shot/test"})  # noqa: E731
    values = {"reference": random_values(range(4))}
    first = write(tmp_path / "a", values, {"reference": config(1)}, {"metric_ids": ids(1)})
    with pytest.raises(UserError, match=r"1-shot.* and .*5-shot"):
        read_comparison([first, write(tmp_path / "b", values, {"reference": config(5)}, {"metric_ids": ids(5)})])
    with pytest.raises(UserError, match=r"episodes.seed is 0 and 7"):
        read_comparison([first, write(tmp_path / "c", values, {"reference": config(1, 7)}, {"metric_ids": ids(1)})])
    # if the side is a factor, it is listed beside the numbers
    sides = {"reference": {"data": {"side": 64}}, "data.side=96": {"data": {"side": 96}}}
    both = {name: random_values(range(4)) for name in sides}
    varied = write(tmp_path / "d", both, sides, factors=["data.side"])
    other = write(tmp_path / "e", {"reference": random_values(range(4))}, {"reference": sides["data.side=96"]})
    assert by_label(varied, other)["reference"].changes == ["data.side: 64 → 96"]
    assert by_label(varied, other)["reference (there data.side=96)"].changes == []


def test_invalid_runs_are_refused(tmp_path: Path):
    run = write(tmp_path / "a", {"reference": random_values(range(4))})
    with pytest.raises(UserError, match="given twice"):
        read_comparison([run, run / ".." / "a"])
    with pytest.raises(UserError, match="not a run directory"):
        read_comparison([run, tmp_path])
    with pytest.raises(UserError, match="at least two runs"):
        read_comparison([run])


def test_allowed_differences_are_listed_in_a_table(tmp_path: Path, parsed: Callable[[str], Any]):
    first = write(tmp_path / "a", {"reference": random_values(range(4))}, versions={"torch": "2.10"})
    second = write(
        tmp_path / "b", {"reference": random_values(range(3, 7))}, None, {"code_version": 2}, versions={"torch": "2.9"}
    )
    seen = parsed(comparison_page.build_page(read_comparison([first, second])))
    assert seen.row("Code version") == ["Code version", "1", "2"]
    assert seen.row("Versions") == ["Versions", "torch 2.10", "torch 2.9"]
    assert seen.row("Seeds") == ["Seeds", "0-3", "3-6"]
    assert not any(row and row[0] == "Question" for row in seen.cells)  # the same in both


def test_only_the_final_evaluation_of_searches_is_compared(tmp_path: Path):
    first = write_search(tmp_path / "a")
    second = write_search(tmp_path / "b", gain=0.1)
    shown = read_comparison([first, second])
    assert shown.variant_names == ["reference", "best"]
    rows = [row for row in results.load(second).to_pylist() if row["stage"] == "judge" and row["variant"] == "best"]
    assert shown.matches[1].variant.values == {row["seed"]: row["map"] for row in rows}


def test_tables_are_complete(tmp_path: Path):
    names = ["reference", "srem.size=18, a|b", "x_y & 50%"]
    runs = [
        write(
            tmp_path / f"run_{index}",
            {name: random_values(range(5), 0.6 + 0.1 * index, start=index) for name in names},
        )
        for index in range(3)
    ]
    shown = read_comparison(runs)
    path = comparison_page.write_comparison(shown, tmp_path / "out")
    assert sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.*")) == [
        "comparison.html",
        *(f"tables/{name}" for name in ("differences.csv", "differences.md", "differences.tex", "means.csv")),
    ]
    assert path == tmp_path / "out" / "comparison.html"
    rows = list(csv.DictReader(io.StringIO(tables.differences_csv(shown))))
    for row, match in zip(rows, shown.matches, strict=True):
        assert (float(row["delta"]), float(row["p_holm"])) == (match.difference.delta, match.difference.p_holm)
        assert (row["against_run"], row["decided"]) == ("run_0", "true" if match.difference.decided else "false")
    paper_table = tables.differences_paper_table(shown)
    lines = [re.sub(r"\\[|\\]", "", line) for line in paper_table.to_markdown().splitlines() if "|" in line]
    assert len({line.count("|") for line in lines[:8]}) == 1
    tex = [re.sub(r"\\[{}$&#_%]", "", line) for line in paper_table.to_latex().splitlines() if "&" in line]
    assert {line.count("&") + line.count(r"\multicolumn{2}") for line in tex} == {7}
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(tables.terminal_table(shown))
    assert "▲ better" in console.export_text()


def test_run_names_are_as_short_as_possible():
    assert run_names([Path("/x/a"), Path("/y/b")]) == ["a", "b"]
    assert run_names([Path("/x/run"), Path("/y/run"), Path("/y/b")]) == ["x/run", "y/run", "y/b"]


def test_figures_hold_the_numbers(tmp_path: Path):
    runs = [
        write(
            tmp_path / f"r{index}",
            {name: random_values(range(5), 0.6 + 0.1 * index, start=index + place) for place, name in enumerate("ab")},
        )
        for index in range(2)
    ]
    shown = read_comparison(runs)
    means = figures.draw_means(shown)
    differences = figures.draw_differences(shown)
    assert means is not None
    assert differences is not None
    for trace, run in zip(means.data, shown.runs.values(), strict=True):
        assert list(trace.x) == [variant.compared["mean"] for variant in run.variants]
    points = {row: x for trace in differences.data for row, x in zip(trace.y, trace.x, strict=True)}
    assert points == {row: match.difference.delta for row, match in enumerate(shown.matches)}


@needs_chromium
def test_the_page_opens_in_a_browser(tmp_path: Path):
    runs = [
        write(
            tmp_path / name,
            {variant: random_values(range(5), 0.6 + 0.02 * index, start=index) for variant in ("reference", "a", "b")},
        )
        for index, name in enumerate(("before", "after", "later"))
    ]
    path = comparison_page.write_comparison(read_comparison(runs), tmp_path / "comparison")
    with chromium() as browser:
        for width in (1200, 390):
            page = browser.open(path.as_uri(), width=width)
            assert page.evaluate("document.querySelectorAll('.js-plotly-plot').length") == 2
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert (list(page.errors), list(page.requests)) == ([], [])
