"""Figures are written by kaleido with captions beside them, and their tables and captions compile as they are."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import dashboards.report
import raysearch
from dashboards.html import EmbeddedFigure
from dashboards.papers import captions, files
from dashboards.papers.layout import paper_figure
from raysearch import report
from raysearch.core import UserError

from ...browser import CHROMIUM, needs_chromium
from ...docs.pages import ROOT, Page
from .. import written
from . import reports

VALUES = {"reference": {0: 0.60, 1: 0.62, 2: 0.61}, reports.HOSTILE: {0: 0.70, 1: 0.722, 2: 0.711}}
needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
PAPER = r"""
\documentclass[10pt,twocolumn]{article}
\usepackage{graphicx,booktabs,siunitx,amssymb}
\begin{document}
%s
\end{document}
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return written.write(tmp_path / "run", VALUES)


def test_formats_may_be_repeated_and_listed(run: Path) -> None:
    assert files.parse_formats(["png,pdf", "pdf"]) == ["pdf", "png"]
    with pytest.raises(UserError, match=r"--figures pfd: no such format; did you mean 'pdf'\?"):
        files.parse_formats(["svg", "pfd"])
    with pytest.raises(UserError, match="--figures is for"):
        CliRunner().invoke(report.app, [str(run), "--live", "--figures", "pdf"], catch_exceptions=False)
    with pytest.raises(UserError, match="--figures is for one run"):
        CliRunner().invoke(report.app, [str(run.parent), "--figures", "pdf"], catch_exceptions=False)


def test_without_kaleido_the_report_is_written_and_one_line_says_what_to_install(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(UserError, match=r"^figures need the package kaleido: pip install 'raysearch\[figures\]'$"):
        CliRunner().invoke(report.app, [str(run), "--figures", "pdf"], catch_exceptions=False)
    assert (run / "report.html").is_file()
    assert not (run / "figures").exists()


def test_a_run_without_results_has_no_figures(tmp_path: Path) -> None:
    empty = raysearch.load(written.write(tmp_path / "empty", {"reference": {0: None}}))
    with pytest.raises(UserError, match="no figures yet"):
        empty.save_figures(tmp_path)


def test_captions_name_each_file_and_escape_names(run: Path) -> None:
    embedded = reports.figures_of(run)
    title = f"mAP of {reports.HOSTILE}"
    embedded["effects"] = EmbeddedFigure("effects", embedded["effects"].figure, title, "Dots are seeds.")
    drawn = {name: paper_figure(figure.figure) for name, figure in embedded.items()}
    latex = captions.latex_file(embedded, drawn, "figures")
    assert re.findall(r"\\includegraphics\[width=\\columnwidth\]{(.*)}", latex) == list(embedded)
    caption = next(line for line in latex.splitlines() if r"\caption{mAP of" in line)
    assert r"50\% \& \textless{}b\textgreater{}" in caption
    assert r"\textbackslash{}newpage \$y\$ \#1 \{z\}" in caption
    markdown = captions.markdown_file(embedded, drawn, "pdf")
    assert re.findall(r"!\[.*\]\((.*)\)", markdown) == [f"{name}.pdf" for name in embedded]
    assert "<b>" not in markdown


def test_a_link_in_a_foreign_run_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (run / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="a link that leads out of"):
        raysearch.load(run).save_figures(run)


@pytest.mark.slow
@needs_chromium
def test_each_format_is_a_picture_of_the_right_size(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    folder = raysearch.load(run).save_figures(tmp_path, "pdf", "svg", "png")
    names = list(reports.figures_of(run))
    assert {path.name for path in folder.iterdir()} == {
        "figures.tex",
        "figures.md",
        *(f"{name}.{format}" for name in names for format in ("pdf", "svg", "png")),
    }
    with Image.open(folder / "effects.png") as image:
        assert image.width == pytest.approx(3.25 * 600, abs=2)
    svg = (folder / "effects.svg").read_text()
    assert re.search(r'width="312"', svg)
    assert "Times New Roman" in svg
    assert "<b>" not in svg
    boxes = re.findall(rb"/MediaBox \[(.*?)\]", (folder / "effects.pdf").read_bytes())
    assert [float(number) for number in boxes[0].split()][2] == pytest.approx(3.25 * 72, abs=1)
    if shutil.which("pdftoppm"):
        subprocess.run(
            ["pdftoppm", "-r", "96", "-png", "-singlefile", folder / "effects.pdf", tmp_path / "pdf"], check=True
        )
        with Image.open(tmp_path / "pdf.png") as printed, Image.open(folder / "effects.png") as drawn:
            edges = [inked(image) for image in (printed, drawn.resize(printed.size))]
        assert edges[0] == pytest.approx(edges[1], abs=3), "the whole figure is on the page, in its size"
    if shutil.which("pdffonts"):
        for path in folder.glob("*.pdf"):
            rows = subprocess.check_output(["pdffonts", path], text=True).splitlines()[2:]
            assert rows, path
            for row in rows:
                assert re.search(r" yes +yes +(yes|no) +\d+ +\d+$", row), row  # embedded, and a subset
                assert "Type 3" not in row, "conferences refuse bitmap and drawn fonts"


@pytest.mark.slow
@needs_chromium
def test_no_request_leaves(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the browser's own log of its network, it connects to no other machine and looks up no name."""
    pytest.importorskip("kaleido")
    log = tmp_path / "net.json"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nexec {CHROMIUM} --log-net-log={shlex.quote(str(log))} "$@"\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(browser))
    raysearch.load(run).save_figures(tmp_path)
    text = log.read_text()
    content = json.loads(text if text.rstrip().endswith("}") else f"{text.rstrip().rstrip(',')}]}}")
    names = {number: name for name, number in content["constants"]["logEventTypes"].items()}
    events = [(names[event["type"]], event.get("params", {})) for event in content["events"]]
    addresses = {values["address"] for name, values in events if name == "TCP_CONNECT_ATTEMPT" and "address" in values}
    assert addresses <= {"127.0.0.1:9"}, "only the port on which nothing listens"
    assert not [name for name, _ in events if name.startswith(("DNS_TRANSACTION", "HOST_RESOLVER_SYSTEM"))]
    assert "mathjax" not in text.lower()


@pytest.mark.slow
def test_without_a_browser_one_line_says_what_to_install(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    command = [sys.executable, "-m", "raysearch.report", str(run), "--figures", "pdf"]
    environment = {
        "PATH": str(tmp_path),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "BROWSER_PATH": str(tmp_path / "none"),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert re.fullmatch(r".*there is none: install it .*'apt install chromium'.*BROWSER_PATH.*\n", done.stderr)


@pytest.mark.slow
@needs_chromium
def test_the_commands_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kaleido")
    monkeypatch.chdir(tmp_path)
    for name in ("srem_ablation-laptop", "before", "after"):
        written.write(Path("runs") / name, VALUES)
    page = Page(ROOT / "docs" / "papers.md")
    for command in page.commands:
        done = CliRunner().invoke(report.app, list(command.words[1:]), catch_exceptions=False)
        assert done.exit_code == 0, done.output
    for block in page.blocks:
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), {})
    for path in (
        "runs/srem_ablation-laptop/figures/effects.png",
        "compared/figures/means.pdf",
        "paper/figures/cost.svg",
    ):
        assert Path(path).stat().st_size > 1000


@needs_latex
@pytest.mark.parametrize("name", ["ablation", "groups", "hostile"])
def test_tables_compile_as_they_are(name: str, tmp_path: Path) -> None:
    run = reports.write_report_run(name, tmp_path)
    dashboards.report.write(run)
    tables = sorted((run / "tables").glob("*.tex"))
    assert tables
    body = "\n".join(rf"\begin{{table*}}\centering\small\input{{{table}}}\end{{table*}}" for table in tables)
    compile_latex(PAPER % body, tmp_path)


@pytest.mark.slow
@needs_latex
@needs_chromium
def test_a_paper_of_all_figures_compiles(tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    for name in ("hostile", "groups"):
        folder = raysearch.load(reports.write_report_run(name, tmp_path)).save_figures(
            tmp_path / f"{name}-paper", "pdf"
        )
        body = rf"\graphicspath{{{{{folder}/}}}}\input{{{folder}/figures.tex}}"
        compile_latex(PAPER % body, tmp_path)


def inked(image: Image.Image) -> tuple[int, int, int, int]:
    """The edges of what is dark in a picture: left, top, right, bottom."""
    box = image.convert("L").point(lambda level: 255 if level < 128 else 0).getbbox()
    assert box
    return box


def compile_latex(text: str, folder: Path) -> None:
    """Compile a document; an error of LaTeX, or a sign that no font has, fails the test."""
    (folder / "paper.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Missing character" not in log
    assert (folder / "paper.pdf").stat().st_size > 5000
