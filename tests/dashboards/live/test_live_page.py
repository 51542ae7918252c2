"""The live page in a real browser: a run directory grows while it is open."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.ablation.tables import difference_cell, mean_cell
from dashboards.ablation.view import view
from dashboards.live.server import LiveServer
from raysearch.runs import Heartbeat, Note, RunningCell, Stage, heartbeat, results

from ...browser import Browser, Page, chromium, needs_chromium
from ...study_json import read_study_json
from ..conftest import ablation, write_run

EVIL = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@contextlib.contextmanager
def served(run: Path) -> Iterator[LiveServer]:
    """Serve the run from a thread until the test ends."""
    with LiveServer(run) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Growing:
    """A run directory into which the cells of a complete run are copied, as if they ended one after another."""

    def __init__(self, folder: Path, **options) -> None:
        self._complete = write_run(folder / "complete" / "run", ablation(), **options)
        self.path = folder / "run"
        (self.path / "cells").mkdir(parents=True)
        shutil.copy(self._complete / "study.json", self.path)
        self.cells = read_study_json(self.path)["cells"]

    def end(self, *seeds: int) -> None:
        for cell in self.cells:
            if cell["seed"] in seeds:
                name = f"cells/{cell['cell']}.parquet"
                shutil.copy(self._complete / name, self.path / f"{name}.part")
                os.replace(self.path / f"{name}.part", self.path / name)


def write_heartbeat(run: Path, step: int, state: str = "running", **stage) -> None:
    """Write the heartbeat of a sweep that runs two cells, at a step of ten."""
    now = time.time()
    running = tuple(
        RunningCell(
            f"running{seed}", f"{EVIL} seed {seed}", "a", 1000.0 + seed, step, 10, 100.0, 0.25, None, (2.0, 1.0, 0.5)
        )
        for seed in range(2)
    )
    default = Stage("cells", 24, 16, slots=2, seconds_left=90.0, running=running if state == "running" else ())
    heartbeat.write_heartbeat(run, Heartbeat("laptop", 7, now - 60, now, state, stage=Stage(**vars(default) | stage)))


WATCH = """(() => {
  window.changes = {elements: [], texts: 0};
  new MutationObserver((records) => {
    for (const record of records) {
      const place = record.target.nodeType === 1 ? record.target : record.target.parentElement;
      if (place?.closest("#figures .plot")) continue;
      if (record.type === "characterData") changes.texts += 1;
      for (const node of [...record.addedNodes, ...record.removedNodes])
        if (node instanceof HTMLElement) changes.elements.push(`${node.localName} in ${place.id || place.localName}`);
    }
  }).observe(document.querySelector('main'), {childList: true, characterData: true, subtree: true});
  const react = Plotly.react;
  window.drawn = 0;
  Plotly.react = (...values) => { drawn += 1; return react(...values); };
})()"""


def texts(page: Page, selector: str) -> list[str]:
    return page.evaluate(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((element) => element.innerText.trim())"
    )


def numbers(run: Path) -> list[str]:
    """Return the means, the differences and their intervals from the report's own view."""
    shown = view(results.read_study(run), results.load(run)).variants
    cells = [cell for variant in shown for cell in (mean_cell(variant), difference_cell(variant))]
    return [str(text) for cell in cells for text in (cell.text, cell.detail) if text]


@needs_chromium
def test_the_page_updates_in_place(browser: Browser, tmp_path: Path) -> None:
    bad = "srem.regions=150"
    run = Growing(tmp_path, seeds=4, failing=lambda name, seed: f"{EVIL}\nsecond line" if name == bad else None)
    run.end(0, 1, 2)
    with served(run.path) as server:
        page = browser.open(server.url, width=390, height=600)
        page.wait_for("document.querySelectorAll('#figures .js-plotly-plot').length === 1")
        assert texts(page, "#status") == [
            "No sweep is running here. Continue with: python -m raysearch.sweep srem_ablation --profile laptop"
        ]
        assert texts(page, "#counts") == ["24 of 32 cells ended, 0 running, 3 failed"]
        assert texts(page, "#table-rows .number :is(span, small):not(:empty)")[:2] == numbers(run.path)[:2]

        # A reader scrolled the page and the table, opened an error and focused its line.
        page.evaluate("document.querySelector('.scroll').scrollLeft = 40")
        page.evaluate("document.querySelector('#failed-rows details').open = true")
        page.evaluate("document.querySelector('#failed-rows summary').focus()")
        page.evaluate("window.rows = [...document.querySelectorAll('#table-rows tr')]; rows[2].scrollIntoView(); 1")
        page.pump(0.3)
        position = page.evaluate("rows[2].getBoundingClientRect().top")
        page.evaluate(WATCH)

        write_heartbeat(run.path, 3, total=32, before=24)
        page.wait_for("document.querySelectorAll('#running-rows li').length === 2")
        assert page.evaluate("drawn") == 0, "a figure was drawn again though its data are the same"
        write_heartbeat(run.path, 6, total=32, before=24)
        page.wait_for("document.querySelector('#running-rows .step').innerText === '6 of 10'")
        added = page.evaluate("changes.elements")
        assert {change.partition(" in ")[2] for change in added} == {"running-rows", "facts"}, added
        page.evaluate("changes.elements.length = 0")

        run.end(3)
        page.wait_for("document.querySelector('#counts').innerText.startsWith('32 of 32 cells')")
        page.wait_for("drawn > 0")
        assert page.evaluate("rows.length === 8 && rows.every((row) => row.isConnected)")
        shown = [word for row in texts(page, "#table-rows .number") for word in row.split("\n")]
        assert [word for word in numbers(run.path) if word not in shown] == []
        assert page.evaluate("changes.elements") == ["li in failed-rows"]
        assert page.evaluate("document.querySelector('#failed-rows details').open")
        assert page.evaluate("document.activeElement === document.querySelector('#failed-rows summary')")
        assert page.evaluate("document.querySelector('.scroll').scrollLeft") == 40
        # Rows of running cells and a longer answer appeared above; the row in view stays in place.
        assert page.evaluate("rows[2].getBoundingClientRect().top") == pytest.approx(position, abs=2)

        # Without changes nothing moves, and the server answers in one line.
        page.wait_for("fetch('/state.json').then((answer) => answer.status === 200)")
        page.pump(2.5)  # recent changes are read twice
        page.evaluate("changes.elements.length = changes.texts = drawn = 0")
        page.pump(2.5)
        assert page.evaluate("[changes.elements.length, changes.texts, drawn]") == [0, 0, 0]

        # Texts of a run are never markup.
        assert EVIL in texts(page, "#failed-rows")[0]
        assert texts(page, "#running-rows .name") == [f"{EVIL} seed 0", f"{EVIL} seed 1"]
        assert page.evaluate("document.title") == "32/32 srem_ablation"
        assert page.evaluate("document.querySelectorAll('script').length") == 2
        assert page.evaluate("document.querySelectorAll('img').length") == 0
        assert list(page.errors) == []
        assert page.evaluate("location.search + document.cookie") == "", "the token can be seen"
        base, _, _ = server.url.partition("?")
        assert {url.partition("?")[0].removeprefix(base) for url in page.requests} == {
            "", "style.css", "plotly.js", "live.js", "state.json",
        }  # fmt: skip


@needs_chromium
def test_the_page_reports_how_a_sweep_ended_and_when_the_server_stopped(browser: Browser, tmp_path: Path) -> None:
    run = Growing(tmp_path, seeds=2)
    run.end(0)
    write_heartbeat(run.path, 3, retried=1, retries=(Note("a seed 1", "the worker died"),))
    with served(run.path) as server:
        page = browser.open(server.url, width=390)
        page.wait_for("document.querySelectorAll('#running-rows li').length === 2")
        assert texts(page, "#retried-rows li > *") == ["retried: a seed 1", "the worker died"]
        points = page.evaluate("document.querySelector('#running-rows polyline').getAttribute('points')")
        assert points == "0.0,1.0 50.0,13.0 100.0,19.0"
        bar = page.evaluate("[...document.querySelectorAll('#bar > *')].map((part) => part.style.width)")
        assert bar == ["33.3333%", "0%", "0%", "8.33333%"]
        assert page.evaluate("document.documentElement.scrollWidth") == 390, "a phone would have to scroll sideways"
        bars = [node for node in page.accessibility() if node.get("role", {}).get("value") == "progressbar"]
        assert len(bars) == 3

        run.end(1)
        write_heartbeat(run.path, 10, state="ended")
        (run.path / "report.html").write_text("<!DOCTYPE html><p id=it>the report</p>")
        page.wait_for("document.querySelector('#status').innerText.startsWith('The sweep ended at')")
        page.wait_for("!document.querySelector('#report').hidden")
        assert page.evaluate("document.querySelector('#running').hidden")
        page.go(page.evaluate("document.querySelector('#report').href"))
        assert texts(page, "#it") == ["the report"]
        page.go(server.url.partition("?")[0])  # by its cookie
        page.wait_for("document.querySelector('#status').innerText.startsWith('The sweep ended at')")
        assert list(page.errors) == []
    page.wait_for("document.querySelector('#status').innerText.startsWith('The live view does not answer')")


@needs_chromium
@pytest.mark.slow
def test_a_real_sweep_is_followed_to_its_end(browser: Browser, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["srem_ablation", "--profile", "laptop", "--seeds", "1", "--out", str(out)]
    arguments += ["--set", "train.iterations=1", "--set", "train.epochs=1"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with (tmp_path / "log").open("w") as log:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "raysearch.sweep", *arguments], stdout=log, stderr=log, env=environment
        )
    seen: set[str] = set()
    try:
        end = time.monotonic() + 900
        while not (out / "study.json").exists():
            assert sweep.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        with served(out) as server:
            page = browser.open(server.url)
            while not texts(page, "#status")[0].startswith("The sweep ended at"):
                assert time.monotonic() < end, texts(page, "main")
                assert sweep.poll() in (None, 0), (tmp_path / "log").read_text()
                seen |= {*texts(page, "#counts"), *texts(page, "#status")}
                seen |= {f"speed {title}" for title in texts(page, "#facts dt")}
                page.pump(0.2)
            page.wait_for("document.querySelector('#report').innerText.startsWith('Report, written at')", 120)
            assert texts(page, "#counts") == ["8 of 8 cells ended, 0 running"]
            assert list(page.errors) == []
        assert sweep.wait(timeout=60) == 0, (tmp_path / "log").read_text()
    finally:
        if sweep.poll() is None:
            sweep.kill()
    assert {"Running.", "speed Time left", "speed Images per second", "speed Waiting for images"} <= seen, seen
    assert any(" running" in text and "0 running" not in text for text in seen), seen
