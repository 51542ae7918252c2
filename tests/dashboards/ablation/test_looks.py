"""Adaptive runs: the report has the rows of the rule, the path of every interval, and what was saved."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dashboards.ablation import effects, figures, tables
from dashboards.ablation.judging import looks
from dashboards.ablation.page import page
from dashboards.ablation.view import View, view
from dashboards.report import answer, live_state, write
from raysearch.runs import results
from raysearch.studies import statistics

from ...study_json import read_study_json, write_study_json
from ..adaptive_runs import LOOKS, write_adaptive

MINUS = "\N{MINUS SIGN}"


def effect(levels: Mapping[str, Any]) -> float:
    return {16: 0.0, 32: 0.0, 64: 0.06, 128: -0.04}[levels["srem.size"]]


def read(run: Path) -> View:
    return view(results.read_study(run), results.load(run))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended: large effects were decided early, and a margin ended others."""
    return write_adaptive(tmp_path_factory.mktemp("ended") / "ended", margin=0.006, effect=effect, noise=0.003)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which two looks have ended, and two cells of the next."""
    extra = [("srem.regions=0", 5), ("reference", 5)]
    directory = tmp_path_factory.mktemp("running") / "running"
    return write_adaptive(directory, until=2, effect=effect, noise=0.003, extra=extra)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose first look has not ended."""
    extra = [("srem.size=18", 0), ("reference", 0), ("reference", 1)]
    return write_adaptive(tmp_path_factory.mktemp("started") / "started", until=0, extra=extra)


@pytest.mark.parametrize("name", ["ended", "running"])
def test_the_rows_are_those_of_the_public_rule(name: str, request: pytest.FixtureRequest):
    path = request.getfixturevalue(name)
    study = results.read_study(path)
    expected = statistics.adaptive(results.load(path), "map", "reference", study.looks, margin=study.margin)
    rows = {row["variant"]: row for row in csv.DictReader(io.StringIO(tables.csv_table(read(path)).to_csv()))}
    assert {row["variant"] for row in expected.to_pylist()} == set(rows)
    for row in expected.to_pylist():
        written = rows[row["variant"]]
        assert written["verdict"] == (row["verdict"] or "reference")
        assert (written["seeds"], written["look"]) == (str(row["seeds"]), str(row["look"]))
        for key, column in (("delta", "delta"), ("delta_low", "delta_low"), ("p", "p_holm"), ("level", "level")):
            assert written[column] == ("" if row[key] is None else repr(row[key]))
        assert written["p"] == "", "a sequential p-value has no uncorrected one"
        assert written["looks"] == "[3, 5, 8, 12, 20]"


def test_cells_that_ran_before_their_look_change_nothing_but_their_own_count(running: Path):
    run = read(running)
    early = run.named["srem.regions=0"]
    assert len(early.rows) == 6
    assert early.compared["seeds"] == 5
    assert sorted(run.differences(early)) == [0, 1, 2, 3, 4]
    figure = effects.effects(run)
    dots = next(trace for trace in figure.data if trace.name == effects.SEEDS)
    assert not [text for text in dots.hovertext if text.startswith("seed 5")]


def test_saved_cells_are_those_of_the_last_look_that_did_not_run(ended: Path):
    run = read(ended)
    ran = len(list((ended / "cells").iterdir()))
    assert run.cells_saved == len(run.variants) * LOOKS[-1] - ran
    assert run.cells_saved > 0
    assert run.saved(run.named["srem.size=18"]) == LOOKS[-1] - len(run.named["srem.size=18"].rows) > 0
    assert f"; {run.cells_saved} of 160 cells saved (" in answer(run.study, results.load(ended))


def test_an_open_variant_has_saved_nothing_and_waits_for_the_next_look(running: Path):
    run = read(running)
    assert run.saved(run.named["srem.regions=0"]) is None
    assert run.saved(run.reference) is None
    assert run.saved(run.named["srem.size=18"]) == 15
    open_variants = [name for name in run.judgement.open_names if name != "reference"]
    expected = {name: 3 for name in [*open_variants, "reference"]} | {"srem.regions=0": 2, "reference": 2}
    assert dict(run.judgement.missing) == expected
    row = next(row for row in looks.looks_table(run).rows if row.name == "srem.regions=0")
    decided = next(column for column in looks.looks_table(run).columns if column.title == "Decided").people_cell(row)
    assert (decided.text, decided.detail) == ("undecided", "next look: 8 seeds")


def test_the_answer_of_decided_variants_names_the_look(ended: Path):
    text = answer(results.read_study(ended), results.load(ended))
    run = read(ended)
    best = run.named["srem.size=18"]
    number = best.compared["look"]
    assert text.startswith("srem.size=18 px (64 at 224) beats the reference (")
    assert f"mAP ({LOOKS[number - 1]} seeds, look {number} of 5); worse: srem.size=37 px (128 at 224) {MINUS}" in text
    within = [variant.label for variant in run.variants if variant.verdict == "within margin"]
    assert within
    listed = text.partition("no difference larger than \N{PLUS-MINUS SIGN}0.006: ")[2].partition(";")[0]
    assert all(label in listed for label in within)


def test_the_answer_of_a_running_study_says_what_comes(running: Path, started: Path):
    text = answer(results.read_study(running), results.load(running))
    assert "undecided at look 2 of 5, the next has 8 seeds, with intervals of" in text
    assert " cells saved so far (" in text
    first = answer(results.read_study(started), results.load(started))
    assert first.startswith("No answer yet: the first look, at 3 seeds, has not ended; the highest mAP so far is")
    assert "(21 not run of 24 cells)" in first


def test_the_answer_without_effects(tmp_path: Path):
    run = write_adaptive(tmp_path / "null", looks=(3, 5))
    text = answer(results.read_study(run), results.load(run))
    start = "No variant differs significantly from the reference at the last look (5 % level over 2 looks, Holm); "
    assert text.startswith(start)
    assert "saved" not in text
    wide = write_adaptive(tmp_path / "wide", looks=(3, 5), margin=0.5, noise=0.0005)
    text = answer(results.read_study(wide), results.load(wide))
    assert text.startswith("No difference larger than \N{PLUS-MINUS SIGN}0.500 mAP: srem.regions=0 ")
    assert "undecided" not in text
    until_first = write_adaptive(tmp_path / "early", looks=(3, 5), until=1)
    text = answer(results.read_study(until_first), results.load(until_first))
    assert text.startswith("Nothing is decided at look 1 of 2; the next has 5 seeds; the largest difference is ")


def test_the_figure_has_the_path_of_the_interval(ended: Path):
    run = read(ended)
    variant = run.named["srem.size=37"]
    expected = [row for row in run.judgement.paths[variant.name]]
    assert [row["look"] for row in expected] == list(range(1, variant.compared["look"] + 1))
    figure = looks.draw_path(run, variant)
    line, *marks = figure.data
    assert list(line.y) == [row["delta"] for row in expected]
    points = {}
    for trace in marks:
        for index, look in enumerate(trace.x):
            bounds = trace.y[index] - trace.error_y.arrayminus[index], trace.y[index] + trace.error_y.array[index]
            points[look] = (trace.marker.symbol, *bounds)
    assert points[variant.compared["look"]][0] == figures.STYLES["worse"][1]
    for row in expected:
        assert points[row["look"]][1:] == pytest.approx((row["delta_low"], row["delta_high"]))
    low, high = figure.layout.yaxis.range
    assert low < variant.compared["delta_low"]
    assert high > 0.006, "zero and the margin are in the figure"
    assert list(figure.layout.xaxis.ticktext) == ["3", "5", "8", "12", "20"]


def test_the_page_shows_every_look_and_its_words(ended: Path, parsed: Callable[[str], Any]):
    run = read(ended)
    seen = parsed(page(run))
    row = next(cells for cells in seen.cells if cells[0].startswith("srem.size=18") and len(cells) == 9)
    for number, text in enumerate(row[1:6], start=1):
        assert bool(text) == (number <= run.named["srem.size=18"].compared["look"])
    assert row[6].startswith("\N{BLACK UP-POINTING TRIANGLE} betterlook ")
    assert row[7:] == [str(len(run.named["srem.size=18"].rows)), str(run.saved(run.named["srem.size=18"]))]
    assert "looks at 3, 5, 8, 12 and 20 seeds and a margin of \N{PLUS-MINUS SIGN}0.006" in seen.text
    assert "Levels of the intervals: 99.89 %, 99.80 %, 99.51 %, 99.00 % and 96.80 %" in seen.text
    assert {f"plot-look-{index}" for index in range(7)} <= set(seen.data)
    assert "p (looks, Holm)" in seen.text
    assert 'class="verdict within-margin"' in page(run)
    assert "95 % intervals. Differences" not in seen.text


def test_a_fixed_study_has_no_word_of_looks(make_run: Callable[..., Path], parsed: Callable[[str], Any]):
    run = read(make_run())
    assert looks.looks_section(run) is None
    seen = parsed(page(run))
    assert not re.search(r"Looks|\blooks? (?:at|\d)|(?<!--seeds )adaptive|[Pp]rovisional|within margin", seen.text)


def test_machines_get_the_looks(ended: Path):
    write(ended)
    content = json.loads((ended / "tables" / "variants.json").read_text())
    assert (content["looks"], content["margin"], content["looked"]) == (list(LOOKS), 0.006, [])
    best = next(row for row in content["variants"] if row["variant"] == "srem.size=18")
    assert best["decided"] is True
    seeds, earlier = LOOKS[best["look"] - 1], [0, *LOOKS][best["look"] - 1]
    assert best["level"] == pytest.approx(1 - 0.05 * (seeds**2 - earlier**2) / 400)
    assert "adaptive: looks at 3, 5" in content["notes"][0]
    state = live_state(results.read_study(ended), results.load(ended))
    assert "Adaptive: looks at 3, 5, 8, 12 and 20 seeds" in state["table"]["note"]


def test_failed_cells_end_a_look_and_are_counted(tmp_path: Path):
    failing = lambda variant, seed: "boom" if variant == "srem.regions=0" or seed == 1 else None  # noqa: E731
    run = read(write_adaptive(tmp_path / "failing", looks=(3, 5), failing=failing, effect=effect))
    assert run.reached_look == 2
    assert run.named["srem.regions=0"].verdict == "no result"
    assert run.named["srem.size=5"].compared["failed"] == 1
    assert run.missing == 0


def test_looks_that_break_the_rule_are_one_line(tmp_path: Path):
    run = write_adaptive(tmp_path / "run", looks=(3, 5))
    write_study_json(run, read_study_json(run) | {"looks": [2, 5]})
    with pytest.raises(Exception, match=r"^the first look has 2 in 2, 5[^\n]*$"):
        read(run)
