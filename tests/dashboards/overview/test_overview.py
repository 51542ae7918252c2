"""The overview of a folder of runs: a row for each, whatever its files hold, sorted in a real browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dashboards.report
from raysearch import report

from ...browser import Browser, chromium, needs_chromium
from ...commands import run_app
from .. import written

FAR_APART = {"reference": {0: 0.60, 1: 0.62, 2: 0.61}, "wide": {0: 0.70, 1: 0.722, 2: 0.711}}
WITH_A_HOLE = {"reference": {0: 0.5, 1: 0.51}, "two": {0: 0.5, 1: None}}
HOSTILE = "</td><script>window.hit = 1</script>\u202e"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good runs, of which one has a report, and four that are not."""
    runs = tmp_path / "runs"
    good = written.write(
        runs / "widths",
        FAR_APART,
        question="Does width help?",
        started="2026-11-20T10:30:00+00:00",
        wall_seconds=812.0,
        cost={"dollars": 1.25},
    )
    dashboards.report.write(good)
    written.write(
        runs / "<b>heads & co", WITH_A_HOLE, question=HOSTILE, started="2026-11-28T08:00:00+00:00", wall_seconds=95.0
    )
    for name, text in {"damaged": "{", "list": "[1]", "unknown": json.dumps({"kind": "\x1b[31m", "study": 1})}.items():
        (runs / name).mkdir()
        (runs / name / "study.json").write_text(text)
    (runs / "no record" / "cells").mkdir(parents=True)
    (runs / "notes").mkdir()
    (runs / ".claims").mkdir()
    (runs / "todo.txt").write_text("nothing")
    return runs


def test_every_run_is_a_row_and_the_newest_is_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(report.app, folder) == 0
    assert "6 runs: 2 complete, 4 cannot be read" in capsys.readouterr().out
    page = (folder / "index.html").read_text()
    names = re.findall(r'<th scope="row">(.*?)(?:<small|</th>)', page)
    assert names == ["&lt;b&gt;heads &amp; co", "widths", "damaged", "list", "no record", "unknown"]
    assert page.count('class="hole"') == 5  # a reason each, and a failed cell
    assert "wide beats the reference: +0.101" in page
    assert "$1.25" in page
    assert "13 min 32 s" in page
    assert 'href="./widths/report.html"' in page
    assert "\u202e" not in page
    assert "<script>window" not in page


def test_links_lead_from_another_directory(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    assert run_app(report.app, folder, "--out", tmp_path / "pages") == 0
    assert 'href="./../runs/widths/report.html"' in (tmp_path / "pages" / "index.html").read_text()
    assert not (folder / "index.html").exists()


def test_a_folder_of_a_store(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store whose files are read through a URI, into a cache of its own; the reports are drawn there."""
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/bucket/runs/{path.relative_to(folder)}", path.read_bytes())
    try:
        assert run_app(report.app, "memory://bucket/runs") == 0
    finally:
        memory.rm("/bucket", recursive=True)
    (index,) = (tmp_path / "cache" / "runs").rglob("index.html")
    page = index.read_text()
    assert "Runs in memory://bucket/runs" in page
    assert 'href="./widths/report.html"' in page
    assert (index.parent / "widths" / "report.html").is_file()


def test_one_page_is_for_several_runs_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(report.app, folder, "--gallery") == 2
    assert "--gallery is for one run" in capsys.readouterr().err
    assert run_app(report.app, folder / "notes") == 2
    assert "is not a run directory" in capsys.readouterr().err


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@needs_chromium
def test_a_reader_sorts_and_opens_a_report(browser: Browser, folder: Path) -> None:
    assert run_app(report.app, folder) == 0
    page = browser.open((folder / "index.html").as_uri())
    first = "document.querySelector('tbody th').firstChild.textContent"
    assert page.evaluate(first) == "<b>heads & co"
    page.evaluate("[...document.querySelectorAll('thead button')].find(b => b.textContent == 'Date').click()")
    assert page.evaluate(first) == "widths"
    assert page.evaluate("window.hit") is None
    for width in (1200, 390):
        page.resize(width, 900)
        page.wait_for(f"document.documentElement.scrollWidth <= {width}")
    assert (list(page.errors), list(page.requests)) == ([], [])
    page.go(page.evaluate("document.querySelector('tbody a').href"))
    assert page.evaluate("document.querySelector('h1').textContent") == "Does width help?"
