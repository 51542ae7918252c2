"""The table in each of its forms holds the numbers of the comparison, and is whole."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest
from rich.console import Console

from dashboards.ablation import tables
from dashboards.ablation.page import page
from dashboards.ablation.view import View, view
from dashboards.html.paper_text import tex
from dashboards.report import terminal
from raysearch.runs import results
from raysearch.studies.analysis import statistics


def read(run: Path) -> View:
    return view(results.read_study(run), results.load(run))


@pytest.fixture
def planted(make_run: Callable[..., Path]) -> Path:
    return make_run(
        effect=lambda levels: {16: 0, 32: 0, 64: 0.03, 128: -0.04}[levels["srem.size"]],
        failing=lambda variant, seed: "boom" if variant == "srem.regions=0" else None,
    )


def test_csv_holds_every_number_in_full(planted: Path):
    rows = {row["variant"]: row for row in csv.DictReader(io.StringIO(tables.csv_table(read(planted)).to_csv()))}
    table = results.load(planted)
    for expected in statistics.compare(table, "map", "reference").to_pylist():
        row = rows[expected["variant"]]
        for name in ("mean", "ci_low", "delta", "delta_high", "p_holm"):
            assert (float(row[name]) if row[name] else None) == expected[name], (expected["variant"], name)
    row = rows["srem.size=18"]
    assert (row["srem.size"], row["srem.size (declared)"], row["verdict"]) == ("18", "64", "better")
    assert (row["published"], row["published_table"]) == ("0.763", "4")
    seconds = pc.mean(table.filter(pc.equal(table["variant"], "srem.size=18"))["seconds"]).as_py()
    assert float(row["seconds"]) == pytest.approx(seconds)
    assert (rows["srem.regions=0"]["mean"], rows["srem.regions=0"]["failed"]) == ("", "5")
    assert float(row["measured_less_published"]) == pytest.approx(float(row["mean"]) - 0.763)
    assert (row["same_protocol"], row["epochs"], row["gpu_hours"]) == ("no: data, backbone, side", "24.0", "0.0")
    assert (row["refused"], rows["srem.regions=0"]["refused"]) == ("", "0 seeds: an interval needs three")
    assert rows["srem.regions=0"]["same_protocol"] == "", "the paper has no such number"


def test_gpu_hours_are_those_of_all_cells_and_stand_only_where_there_were_gpus(planted: Path):
    run = read(planted)
    assert "GPU-hours" not in tables.paper_table(run).to_markdown()
    for row in run.rows:
        row["gpu_seconds"] = 1800.0
    assert all(one.gpu_hours == 2.5 for one in run.variants), "five cells of half an hour, failed or not"
    assert "| GPU-hours |" in tables.paper_table(run).to_markdown()
    assert " & 2.500 & " in tables.paper_table(run).to_latex().replace("$", "")
    assert '<td class="number" data-value="2.5">2.500</td>' in page(run)


def test_two_seeds_are_refused_with_the_reason_everywhere(make_run: Callable[..., Path]):
    path = make_run("two", seeds=2, effect=lambda levels: 0.3 * (levels["srem.size"] == 64))
    run, reason = read(path), "2 seeds: an interval needs three"
    assert {one.verdict for one in run.variants} == {"reference", "no interval"}
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(terminal(results.read_study(path), results.load(path)))
    for text in (
        tables.csv_table(run).to_csv(),
        tables.paper_table(run).to_markdown(),
        tables.paper_table(run).to_latex(),
        page(run),
        console.export_text(),
    ):
        assert reason in text
    assert page(run).count(f"<small>{reason}</small>") == 7
    assert 'class="verdict better"' not in page(run)


def test_latex_is_balanced_and_marks_what_is_decided(planted: Path):
    text = tables.paper_table(read(planted)).to_latex()
    body = [line for line in text.splitlines() if not line.startswith("%")]
    plain = re.sub(r"\\[{}$&#_%]", "", "\n".join(body))
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert plain.count(r"\begin{tabular}") == plain.count(r"\end{tabular}") == 1
    specification = re.search(r"tabular}{(.*)}", plain)[1]  # type: ignore[index]
    columns = re.sub(r"\[.*?\]|@{.*?}", "", re.sub(r">{.*?}p{.*?}", "l", specification))
    assert set(columns) == {"l", "S"}
    lines = [line for line in plain.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 9
    assert {line.count("&") + line.count(r"\multicolumn{2}") for line in lines} == {len(columns) - 1}
    assert not set("#_~^") & set(re.sub(r"\$[^$]*\$", "", plain))
    decided = {line.split(" &")[0]: line for line in lines if "arrow" in line}
    assert set(decided) == {"srem.size=18 px (64 at 224)", "srem.size=37 px (128 at 224)"}
    assert r"\uparrow" in decided["srem.size=18 px (64 at 224)"]
    assert r"\downarrow" in decided["srem.size=37 px (128 at 224)"]


def test_latex_escapes_what_latex_would_read():
    assert tex(r"a_b & 50% {x} \y #1 ~ ^ $") == (
        r"a\_b \& 50\% \{x\} \textbackslash{}y \#1 \textasciitilde{} \textasciicircum{} \$"
    )


def test_markdown_has_a_cell_for_every_column(planted: Path):
    lines = tables.paper_table(read(planted)).to_markdown().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 10
    assert len({line.count("|") for line in rows}) == 1
    assert "**+0.0" in next(line for line in rows if "18 px" in line)
    assert "map@all/expected-ties/test" in lines[-1]


def test_the_terminal_shows_holes_and_verdicts(planted: Path):
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(terminal(results.read_study(planted), results.load(planted)))
    lines = {line.split("│")[1].strip(): line for line in console.export_text().splitlines() if "│" in line}
    assert "▲ better" in lines["srem.size=18 px (64 at 224)"]
    assert "0/5" in lines["srem.regions=0"]
    assert "no result" in lines["srem.regions=0"]


@pytest.mark.parametrize("width", [80, 140])
def test_no_number_and_no_name_is_cut_off_in_a_narrow_terminal(planted: Path, width: int):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal(results.read_study(planted), results.load(planted)))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for one in read(planted).variants:
        cells = (tables.mean_cell(one), tables.difference_cell(one))
        for word in (one.label.partition(" ")[0], *(part for cell in cells for part in (cell.text, cell.detail))):
            assert str(word) in text
