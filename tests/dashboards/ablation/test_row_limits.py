"""Of a study too large to read, what is shown is what says most, and what is left out is counted."""

import csv
import io
import json
import random
import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from rich.console import Console

from dashboards.ablation import effects, figures, row_limits, tables
from dashboards.ablation.page import page
from dashboards.ablation.view import View, view
from dashboards.html import verdicts
from dashboards.report import answer, terminal
from raysearch.runs import StudyRecord


def large(variants: int, seeds: int, planted: dict[str, float], mode: str = "max") -> tuple[dict[str, Any], pa.Table]:
    """A study of one rate with many levels; the planted ones differ from the reference, the rest do not."""
    rng = random.Random(5)
    names = ["reference", *(f"train.lr={index}" for index in range(1, variants))]
    level = [rng.gauss(0.6, 0.02) for _ in range(seeds)]
    history = json.dumps(
        [{"loss": 1 / (step + 1), "map": 0.1 * step, "erased_fraction": 0.25} for step in range(5)]
    )  # fmt: skip
    rows = [
        {"study": "s", "variant": name, "seed": seed, "cell": f"{name}/{seed}", "status": "finished", "error": None,
         "config": json.dumps({"train": {"lr": name}}), "train.lr": index, "history": history, "seconds": 2.0,
         "map": level[seed] + planted.get(name, 0.0) + rng.gauss(0.0, 1e-4),
         "metric_ids": json.dumps({"map": "map@all/test"})}
        for index, name in enumerate(names) for seed in range(seeds)
    ]  # fmt: skip
    study = {
        "study": "s", "question": "Which rate?", "factors": ["train.lr"], "design": "one_at_a_time", "mode": mode,
        "variants": [
            {"name": name, "settings": {"train.lr": index}, "declared": {}, "config": {"train": {"lr": index}}}
            for index, name in enumerate(names)
        ],
        "cells": [{key: row[key] for key in ("cell", "variant", "seed")} for row in rows],
    }  # fmt: skip
    return StudyRecord.model_validate(study), pa.Table.from_pylist(rows)


PLANTED = {"train.lr=1500": 0.05, "train.lr=1600": -0.05, "train.lr=1700": 0.03}


@pytest.fixture(scope="module")
def two_thousand() -> tuple[dict[str, Any], pa.Table]:
    return large(2000, 5, PLANTED)


@pytest.fixture(scope="module")
def run(two_thousand: tuple[dict[str, Any], pa.Table]) -> View:
    return view(*two_thousand)


def test_all_are_shown_while_they_are_few():
    run = view(*large(8, 2, {}))
    assert row_limits.shown(run, 8) == list(run.variants)
    assert row_limits.note(run, 8) == ""


def test_the_reference_the_decided_and_both_ends_are_shown_in_the_plan_s_order(run: View):
    shown = row_limits.shown(run, 7)
    assert len(shown) == 7
    assert shown[0].is_reference
    places = [run.variants.index(one) for one in shown]
    assert places == sorted(places)
    assert set(PLANTED) <= {one.name for one in shown}
    # what is not decided is filled up from both sides
    rest = [one.compared["delta"] for one in shown[1:] if one.name not in PLANTED]
    assert min(rest) < 0 < max(rest)
    undecided = [one for one in run.variants if one.verdict == "undecided" and one not in shown]
    assert all(min(rest) <= one.compared["delta"] <= max(rest) for one in undecided)
    assert "1,993 more" in row_limits.note(run, 7)


def test_the_best_is_shown_when_all_the_largest_differences_are_bad():
    planted = {f"train.lr={index}": -0.05 - 0.001 * index for index in range(1, 20)} | {"train.lr=25": 0.01}
    for mode in ("max", "min"):
        turned = {name: value if mode == "max" else -value for name, value in planted.items()}
        names = [one.name for one in row_limits.shown(view(*large(30, 3, turned, mode)), 6)]
        assert "train.lr=25" in names
        assert "train.lr=19" in names


def test_variants_without_a_number_come_last():
    study, table = large(50, 2, {})
    table = table.filter(pc.not_equal(table["variant"], "train.lr=3"))
    run = view(study, table)
    assert "train.lr=3" not in {one.name for one in row_limits.shown(run, 40)}
    assert "train.lr=3" in {one.name for one in row_limits.shown(run, 50)}


def test_a_page_of_two_thousand_variants_stays_readable(run: View):
    started = time.process_time()
    text = page(run)
    assert time.process_time() - started < 10
    assert len(text) < 10e6
    assert text.count("<tr>") < 4 * verdicts.ROWS_IN_PAGE
    assert f"{2000 - verdicts.ROWS_IN_PAGE:,} more are in tables/variants.csv" in text
    assert f"{2000 - verdicts.ROWS_IN_FIGURE:,} more are in tables/variants.csv" in text
    for figure in (effects.effects(run), figures.cost(run)):
        assert figure is not None
        assert sum(len(trace.y) for trace in figure.data) <= verdicts.ROWS_IN_FIGURE * 6
        assert figure.layout.height < 3000


def test_tables_hold_all_or_say_what_they_leave_out(run: View, two_thousand: tuple[dict[str, Any], pa.Table]):
    rows = list(csv.DictReader(io.StringIO(tables.csv_table(run).to_csv())))
    assert [row["variant"] for row in rows] == [one.name for one in run.variants]
    markdown, latex = tables.paper_table(run).to_markdown(), tables.paper_table(run).to_latex()
    assert sum(line.startswith("| ") for line in markdown.splitlines()) == verdicts.ROWS_IN_FILE + 1
    assert sum(line.endswith(r"\\") for line in latex.splitlines()) == verdicts.ROWS_IN_FILE + 1
    for text in (markdown, latex):
        assert "1,800 more are in tables/variants.csv" in text
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(terminal(*two_thousand))
    lines = console.export_text().splitlines()
    assert "... and 1,960 more in tables/variants.csv" in lines[-1]
    assert len(lines) < verdicts.ROWS_IN_TERMINAL + 8
    assert sum("decided" in line for line in lines) >= len(PLANTED)
    assert answer(*two_thousand).startswith("train.lr=1500 beats the reference")


def test_only_histories_that_are_drawn_are_taken_apart(run: View):
    assert len(run.histories) == 2000
    assert "reference" in run.histories
    assert len(run.histories["reference"]) == 5
    assert run.histories["reference"][0][2]["map"] == pytest.approx(0.2)
    assert "nobody" not in run.histories
