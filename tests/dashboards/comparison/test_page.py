"""Runs side by side: what is refused, how variants are matched, and that the numbers are scipy's."""

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
from dashboards.comparison.view import Match, called, read
from raysearch.core.errors import UserError
from raysearch.runs import results
from raysearch.studies.analysis import statistics

from ...browser import chromium, needs_chromium
from ..conftest import write_search
from ..written import write


def drawn(seeds: range, mean: float = 0.6, spread: float = 0.01, start: int = 0) -> dict[int, float | None]:
    rng = random.Random(start)
    return {seed: rng.gauss(mean, spread) for seed in seeds}


def by_label(*runs: Path) -> dict[str, Match]:
    return {one.label: one for one in read(runs).matches}


def test_common_seeds_are_paired_as_scipy_pairs_them(tmp_path: Path):
    first, second = drawn(range(5)), drawn(range(2, 9), 0.63, start=1)
    both = write(tmp_path / "a", {"reference": first}), write(tmp_path / "b", {"reference": second})
    found = by_label(*both)["reference"].difference
    common = range(2, 5)
    expected = stats.ttest_rel([second[seed] for seed in common], [first[seed] for seed in common])
    assert (found.test, found.seeds) == ("paired", (3, 3))
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_other_seeds_get_welchs_interval(tmp_path: Path):
    first, second = drawn(range(5), spread=0.002), drawn(range(4, 12), 0.63, spread=0.03, start=1)  # one in common
    both = write(tmp_path / "a", {"reference": first}), write(tmp_path / "b", {"reference": second})
    one = by_label(*both)["reference"]
    expected = stats.ttest_ind(list(second.values()), list(first.values()), equal_var=False)
    assert (one.difference.test, one.difference.seeds) == ("Welch", (8, 5))
    assert one.difference.p == pytest.approx(expected.pvalue)
    bounds = expected.confidence_interval(0.95)
    assert (one.difference.low, one.difference.high) == pytest.approx((bounds.low, bounds.high))
    assert tables.test_of(one) == "Welch, 8 and 5 seeds"


@pytest.mark.parametrize("seeds", [(2, 5), (5, 2), (1, 1)])
def test_too_few_seeds_decide_nothing_and_say_so(tmp_path: Path, seeds: tuple[int, int]):
    both = [write(tmp_path / str(at), {"reference": drawn(range(n), start=at)}) for at, n in enumerate(seeds)]
    one = by_label(*both)["reference"]
    assert (one.verdict, one.difference.low, one.difference.p) == ("no interval", None, None)
    assert one.difference.delta is not None
    assert "needs three" in tables.test_of(one)


def test_holm_goes_over_all_runs_and_variants(tmp_path: Path):
    names = ["reference", "a", "b"]
    runs = [
        write(tmp_path / f"r{at}", {name: drawn(range(4), start=at * 10 + i) for i, name in enumerate(names)})
        for at in range(3)
    ]
    found = [one.difference for one in read(runs).matches]
    assert len(found) == 6
    assert [one.p_holm for one in found] == statistics.holm([one.p for one in found])
    assert max(one.p_holm / one.p for one in found if one.p and one.p_holm) == pytest.approx(6)


def test_a_planted_difference_is_decided_in_its_direction(tmp_path: Path):
    base = drawn(range(6))
    shifted = {seed: value + 0.05 + 0.0001 * seed for seed, value in base.items() if value is not None}
    high = write(tmp_path / "a", {"reference": base}), write(tmp_path / "b", {"reference": shifted})
    assert by_label(*high)["reference"].verdict == "better"
    low = (
        write(tmp_path / "c", {"reference": base}, mode="min"),
        write(tmp_path / "d", {"reference": shifted}, mode="min"),
    )
    assert by_label(*low)["reference"].verdict == "worse"
    assert comparison_page.sentence(read(high)).startswith("Decided better than in a: reference +0.050")


def test_variants_meet_by_name_and_by_config(tmp_path: Path):
    one, two = {"srem": {"regions": 50}}, {"srem": {"regions": 10}}
    first = write(
        tmp_path / "a",
        {"reference": drawn(range(4)), "r=10": drawn(range(4), start=1), "gone": drawn(range(4), start=2)},
        {"reference": one, "r=10": two},
    )
    second = write(
        tmp_path / "b",
        {"reference": drawn(range(4), start=3), "new": drawn(range(4), start=4)},
        {"reference": two},
    )
    found = by_label(first, second)
    assert set(found) == {"reference", "reference (there r=10)"}
    assert found["reference"].changes == ["srem.regions: 50 → 10"]
    assert found["reference (there r=10)"].changes == []
    page = comparison_page.page(read([first, second]))
    assert "not in this run" in page
    assert "srem.regions: 50 → 10" in page


def test_cells_that_both_runs_hold_are_no_evidence(tmp_path: Path):
    first = write(tmp_path / "a" / "run", {"reference": drawn(range(5)), "a": drawn(range(5), start=1)})
    second = write(tmp_path / "b" / "run", {"reference": drawn(range(5)), "a": drawn(range(5), start=1)})
    shown = read([first, second])
    assert {one.verdict for one in shown.matches} == {"same cells"}
    assert {one.difference.p for one in shown.matches} == {None}
    assert "same cells" in comparison_page.sentence(shown)


def test_failed_cells_stay_out_of_the_pairs_and_are_counted(tmp_path: Path):
    values = drawn(range(5), start=1) | {1: None}
    both = write(tmp_path / "a", {"reference": drawn(range(5))}), write(tmp_path / "b", {"reference": values})
    shown = read(both)
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
def test_what_must_not_be_mixed_is_refused_with_how(tmp_path: Path, name: str):
    changes, words = REFUSED[name]
    first = write(tmp_path / "a", {"reference": drawn(range(4))})
    with pytest.raises(UserError, match=rf"'a' and 'b' cannot be compared: .*{words}"):
        read([first, write(tmp_path / "b", {"reference": drawn(range(4))}, **changes)])


def test_episodes_of_another_protocol_are_refused_and_a_factor_is_not(tmp_path: Path):
    config = lambda shots, seed=0: {"episodes": {"shots": shots, "seed": seed}, "data": {"side": 84}}  # noqa: E731
    ids = lambda shots: json.dumps({"map": f"accuracy@5-way-{shots}-shot/test"})  # noqa: E731
    values = {"reference": drawn(range(4))}
    first = write(tmp_path / "a", values, {"reference": config(1)}, {"metric_ids": ids(1)})
    with pytest.raises(UserError, match=r"1-shot.* and .*5-shot"):
        read([first, write(tmp_path / "b", values, {"reference": config(5)}, {"metric_ids": ids(5)})])
    with pytest.raises(UserError, match=r"episodes.seed is 0 and 7"):
        read([first, write(tmp_path / "c", values, {"reference": config(1, 7)}, {"metric_ids": ids(1)})])
    # where the side is a factor, it is told beside the numbers
    sides = {"reference": {"data": {"side": 64}}, "data.side=96": {"data": {"side": 96}}}
    both = {name: drawn(range(4)) for name in sides}
    one = write(tmp_path / "d", both, sides, factors=["data.side"])
    other = write(tmp_path / "e", {"reference": drawn(range(4))}, {"reference": sides["data.side=96"]})
    assert by_label(one, other)["reference"].changes == ["data.side: 64 → 96"]
    assert by_label(one, other)["reference (there data.side=96)"].changes == []


def test_runs_that_are_none_are_refused(tmp_path: Path):
    run = write(tmp_path / "a", {"reference": drawn(range(4))})
    with pytest.raises(UserError, match="given twice"):
        read([run, run / ".." / "a"])
    with pytest.raises(UserError, match="not a run directory"):
        read([run, tmp_path])
    with pytest.raises(UserError, match="two runs"):
        read([run])


def test_what_may_differ_stands_in_a_table(tmp_path: Path, parsed: Callable[[str], Any]):
    first = write(tmp_path / "a", {"reference": drawn(range(4))}, versions={"torch": "2.10"})
    second = write(
        tmp_path / "b", {"reference": drawn(range(3, 7))}, None, {"code_version": 2}, versions={"torch": "2.9"}
    )
    seen = parsed(comparison_page.page(read([first, second])))
    assert seen.row("Code version") == ["Code version", "1", "2"]
    assert seen.row("Versions") == ["Versions", "torch 2.10", "torch 2.9"]
    assert seen.row("Seeds") == ["Seeds", "0-3", "3-6"]
    assert not any(row and row[0] == "Question" for row in seen.cells)  # the same in both


def test_of_searches_only_the_judging_is_compared(tmp_path: Path):
    first, second = write_search(tmp_path / "a"), write_search(tmp_path / "b", gain=0.1)
    shown = read([first, second])
    assert shown.names == ["reference", "best"]
    rows = [row for row in results.load(second).to_pylist() if row["stage"] == "judge" and row["variant"] == "best"]
    assert shown.matches[1].own.values == {row["seed"]: row["map"] for row in rows}


def test_tables_are_whole(tmp_path: Path):
    names = ["reference", "srem.size=18, a|b", "x_y & 50%"]
    runs = [
        write(tmp_path / f"run_{at}", {name: drawn(range(5), 0.6 + 0.1 * at, start=at) for name in names})
        for at in range(3)
    ]
    shown = read(runs)
    path = comparison_page.write(shown, tmp_path / "out")
    assert sorted(str(one.relative_to(tmp_path / "out")) for one in (tmp_path / "out").rglob("*.*")) == [
        "comparison.html",
        *(f"tables/{name}" for name in ("differences.csv", "differences.md", "differences.tex", "means.csv")),
    ]
    assert path == tmp_path / "out" / "comparison.html"
    rows = list(csv.DictReader(io.StringIO(tables.differences_csv(shown))))
    for row, one in zip(rows, shown.matches, strict=True):
        assert (float(row["delta"]), float(row["p_holm"])) == (one.difference.delta, one.difference.p_holm)
        assert (row["against_run"], row["decided"]) == ("run_0", "true" if one.difference.decided else "false")
    lines = [re.sub(r"\\[|\\]", "", line) for line in tables.as_markdown(shown).splitlines() if "|" in line]
    assert len({line.count("|") for line in lines[:8]}) == 1
    tex = [re.sub(r"\\[{}$&#_%]", "", line) for line in tables.as_latex(shown).splitlines() if "&" in line]
    assert {line.count("&") for line in tex} == {6}
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(tables.terminal(shown))
    assert "decided better" in console.export_text()


def test_runs_are_called_by_what_tells_them_apart():
    assert called([Path("/x/a"), Path("/y/b")]) == ["a", "b"]
    assert called([Path("/x/run"), Path("/y/run"), Path("/y/b")]) == ["x/run", "y/run", "y/b"]


def test_figures_hold_the_numbers(tmp_path: Path):
    runs = [
        write(tmp_path / f"r{at}", {name: drawn(range(5), 0.6 + 0.1 * at, start=at + i) for i, name in enumerate("ab")})
        for at in range(2)
    ]
    shown = read(runs)
    means, differences = figures.means(shown), figures.differences(shown)
    assert means is not None
    assert differences is not None
    for trace, run in zip(means.data, shown.runs.values(), strict=True):
        assert list(trace.x) == [one.compared["mean"] for one in run.variants]
    points = {at: x for trace in differences.data for at, x in zip(trace.y, trace.x, strict=True)}
    assert points == {at: one.difference.delta for at, one in enumerate(shown.matches)}


@needs_chromium
def test_the_page_opens_in_a_browser(tmp_path: Path):
    runs = [
        write(tmp_path / name, {one: drawn(range(5), 0.6 + 0.02 * at, start=at) for one in ("reference", "a", "b")})
        for at, name in enumerate(("before", "after", "later"))
    ]
    path = comparison_page.write(read(runs), tmp_path / "comparison")
    with chromium() as browser:
        for width in (1200, 390):
            page = browser.open(path.as_uri(), width=width)
            assert page.evaluate("document.querySelectorAll('.js-plotly-plot').length") == 2
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert (list(page.errors), list(page.requests)) == ([], [])
