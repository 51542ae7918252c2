"""A file outside the package adds sections to the report, in order, and a faulty one costs nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dashboards.report  # noqa: F401  # registers the built-in sections
from dashboards.report_sections import SECTIONS, draw_sections, report_section
from raysearch.core import UserError

from .conftest import Page

SECTION = """
import plotly.graph_objects as go

from dashboards.html.table import Column, Table
from raysearch.extend import report_section


@report_section("ablation", "Slowest <cells>", after="effects")
def slowest(run):
    rows = sorted(run.rows, key=lambda row: -row["seconds"])[:2]
    columns = [Column("Cell", lambda row: row["cell"], "name"), Column("Seconds", lambda row: f"{row['seconds']:.0f}")]
    return ["The <b>slowest</b> cells.", Table(columns, rows), go.Figure(go.Bar(y=[row["seconds"] for row in rows]))]


@report_section("ablation", "Left out")
def nothing(run):
    return None


@report_section("ablation", "Faulty")
def faulty(run):
    return run.rows[0]["no such column"]
"""


def report(run: Path, extension: Path | None) -> subprocess.CompletedProcess[str]:
    """Draw a report in a process of its own, as a user does."""
    environment = os.environ | {"RAYSEARCH_EXTENSIONS": str(extension) if extension else ""}
    command = [sys.executable, "-m", "raysearch.report", str(run)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def headings(page: Page) -> list[str | None]:
    return [attributes.get("id") for tag, attributes in page.tags if tag == "section" and "id" in attributes]


def test_a_section_of_one_file_is_on_the_page(make_run: Callable[..., Path], tmp_path: Path):
    run = make_run(seeds=3)
    extension = tmp_path / "my_sections.py"
    extension.write_text(SECTION)
    done = report(run, extension)
    assert done.returncode == 0, done.stderr
    page = Page((run / "report.html").read_text())
    order = headings(page)
    assert order[order.index("effects") + 1] == "slowest-cells"
    assert "left-out" not in order
    assert order[-1] == "faulty"
    assert "The <b>slowest</b> cells." in page.text
    assert "Slowest <cells>" in page.text
    assert page.data["plot-slowest-cells-2"]["data"][0]["type"] == "bar"
    assert page.row("Cell") == ["Cell", "Seconds"]
    assert "This section was not drawn: KeyError: 'no such column'" in page.text


def test_an_unknown_neighbor_is_one_line(make_run: Callable[..., Path], tmp_path: Path):
    extension = tmp_path / "my_sections.py"
    extension.write_text(SECTION.replace('after="effects"', 'after="efects"'))
    done = report(make_run(seeds=3), extension)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "'efects', which is not a section; known: variants, effects" in done.stderr


def test_an_unknown_kind_and_a_second_title_are_refused():
    with pytest.raises(UserError, match="unknown kind of study 'ablations'; did you mean 'ablation'"):
        report_section("ablations", "Mine")
    with pytest.raises(UserError, match="'cost' is registered twice"):
        report_section("ablation", "Cost")(lambda run: None)


def test_sections_are_drawn_once_each_in_order(monkeypatch: pytest.MonkeyPatch):
    drawn: list[str] = []
    for key in SECTIONS["ablation"]:
        entry = SECTIONS["ablation"][key]
        monkeypatch.setitem(
            SECTIONS["ablation"]._items, key, type(entry)(lambda run, key=key: drawn.append(key), entry.after)
        )
    assert draw_sections("ablation", None) == []
    assert drawn[:3] == ["variants", "effects", "looks"]
    assert len(drawn) == len(set(drawn)) == len(SECTIONS["ablation"])
