"""Names and files of people who mean harm: all are shown as text, nothing runs, nothing outside the run is touched."""

import csv
import io
import json
import os
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import dashboards.report
from dashboards.comparison import page as comparison_page
from dashboards.comparison import tables as comparison_tables
from raysearch.core import UserError
from raysearch.runs import results

from ..browser import Browser, chromium, needs_chromium
from ..study_json import read_study_json, write_study_json
from .conftest import ablation, write_run, write_search
from .written import write

NAMES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><svg onload=alert(1)>",
    "{{7*7}} ${7*7} %s %(x)d",
    'class "wren" \'s \N{BIRD}',
    "/".join(["path"] * 40),
    r"\input{/etc/passwd} & _ # ~ ^",
    "=cmd|' /C calc'!A0",
    "a | b `c` *d* [e](f)",
    "[red]loud[/red] [link=http://x]y[/link]",
    "safe\u202egpj.exe",
    "\x1b]0;title\x07\x1b[31m",
]


def evil_run(run_dir: Path) -> Path:
    """A run whose every text is one of the names."""
    rng = random.Random(1)
    values = {name: {seed: rng.gauss(0.6, 0.01) for seed in range(4)} for name in ["reference", *NAMES]}
    values[NAMES[0]][0] = None
    run = write(
        run_dir,
        values,
        {name: {"data": {"side": 64}, name: {name: name}} for name in values},
        {"environment": json.dumps(NAMES)},
    )
    study = read_study_json(run)
    for one, name in zip(study["variants"][1:], NAMES, strict=True):
        one |= {"settings": {name: name, "x": 1}, "declared": {name: name}}
    study |= {"factors": NAMES[:3], "question": " ".join(NAMES), "command": NAMES[0], "profile_reason": NAMES[1]}
    study |= {"versions": {NAMES[0]: NAMES[1]}, "started": NAMES[2], "warnings": NAMES, "design": NAMES[3]}
    write_study_json(run, study | {"hardware": {name: name for name in NAMES}, "data": {"name": NAMES[0]}})
    return run


def evil_search(run_dir: Path) -> Path:
    """A search whose paths, levels and errors are the names."""
    run = write_search(run_dir, trials=26, groups=(12,))
    study = read_study_json(run)
    names = iter(NAMES * 10)
    renamed = {}
    for one in study["variants"]:
        if ":" in one["name"]:
            name = next(names)
            renamed[one["name"]] = f"{one['name'].split(':')[0]}: {name}"
            one |= {"name": renamed[one["name"]], "settings": {**one["settings"], name: name, "srem.mask_pass": name}}
            one["declared"] = one["settings"]
    for cell in study["cells"]:
        cell["variant"] = renamed.get(cell["variant"], cell["variant"])
    for one in study["best"]:
        one["variant"] = renamed.get(one["variant"], one["variant"])
    study["space"] |= {name: name for name in NAMES}
    write_study_json(run, study | {"question": " ".join(NAMES), "sampler": NAMES[0]})
    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


def shown(browser: Browser, path: Path) -> str:
    """The text of a page in which nobody called alert, fetched anything or made an element."""
    page = browser.open("about:blank")
    counter = "window.alerts = 0; window.alert = () => { window.alerts += 1; };"
    page.call("Page.addScriptToEvaluateOnNewDocument", {"source": counter})
    page.go(path.as_uri())
    page.pump(0.3)
    assert page.evaluate("window.alerts") == 0
    assert page.evaluate("document.querySelectorAll('main img, main svg[onload], main a, main font').length") == 0
    allowed = page.evaluate("document.querySelector('meta[http-equiv]').content.match(/sha256-/g).length")
    assert page.evaluate("document.querySelectorAll('script:not([data-figure])').length") == allowed
    assert (list(page.errors), list(page.requests)) == ([], [])
    assert "&quot;" not in page.evaluate("document.querySelector('main').innerText")
    for width in (1200, 390):
        page.resize(width, 900)
        page.wait_for(f"document.documentElement.scrollWidth <= {width}")  # the figures follow a moment later
    return page.evaluate("document.body.textContent")


@needs_chromium
@pytest.mark.parametrize("kind", ["ablation", "search", "comparison"])
def test_every_name_is_shown_as_text(browser: Browser, tmp_path: Path, kind: str):
    if kind == "search":
        path = dashboards.report.write(evil_search(tmp_path / "run"))
    elif kind == "ablation":
        path = dashboards.report.write(evil_run(tmp_path / "run"))
    else:
        runs = [evil_run(tmp_path / name) for name in ("<b>a", "b")]
        path = comparison_page.write_comparison(comparison_page.read_comparison(runs), tmp_path / "out")
    text = re.sub(r"\s+", " ", shown(browser, path))
    for name in NAMES:
        safe = name.replace("\u202e", "\\u202e").replace("\x1b", "\\u001b").replace("\x07", "\\u0007")
        assert safe in text, name
    assert not set(text) & {"\u202e", "\x1b", "\x07"}


def test_tables_for_spreadsheets_papers_and_terminals_hold_text_alone(tmp_path: Path):
    run = evil_run(tmp_path / "run")
    dashboards.report.write(run)
    both = comparison_page.read_comparison([run, evil_run(tmp_path / "other")])
    files = {path.name: path.read_text() for path in (run / "tables").iterdir()} | comparison_tables.table_files(both)
    for name, text in files.items():
        assert not set(text) & {"\u202e", "\x1b", "\x07"}, name
        if name.endswith(".csv"):
            for row in csv.reader(io.StringIO(text)):
                assert not any(field[:1] in ("=", "@") for field in row), row
            assert "'=cmd|' /C calc'!A0" in text
        if name.endswith(".tex"):
            assert r"\input" not in text
            plain = re.sub(r"\\[{}$&#_%]", "", text.split("\n", 1)[1])
            lines = [line for line in plain.splitlines() if line.endswith(r"\\")]
            assert len({line.count("&") + line.count(r"\multicolumn{2}") for line in lines}) == 1
            assert plain.count("{") == plain.count("}")
        if name.endswith(".md"):
            lines = [re.sub(r"\\.", "", line) for line in text.splitlines() if line.startswith("|")]
            assert len({line.count("|") for line in lines}) == 1
            assert "<script" not in text
    out = io.StringIO()
    console = Console(width=200, file=out, force_terminal=True, color_system="truecolor")
    console.print(dashboards.report.terminal(results.read_study(run), results.load(run)))
    console.print(comparison_tables.terminal_table(both))
    assert "[red]loud" in re.sub(r"\s+", " ", out.getvalue())
    assert "\x1b]0;" not in out.getvalue()
    assert "\x07" not in out.getvalue()


BAD_VALUES: list[Any] = [
    None,
    True,
    -1,
    10**400,
    1e308,
    "x",
    "../../etc/passwd",
    [],
    {},
    [[1]],
    {"a": {"b": []}},
    "\ud800",
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a nested value can be changed; of lists the first two entries, of configs no single setting."""
    if path:
        yield path
    if path[-2:-1] == ("config",):
        return
    entries = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, one in entries:
        yield from places(one, (*path, key))


def survives(run: Path) -> None:
    """A report, or a line for the user."""
    try:
        study, table = results.read_study(run), results.load(run)
        dashboards.report.write(run, table)
        Console(file=io.StringIO(), width=140).print(dashboards.report.terminal(study, table))
        dashboards.report.answer(study, table)
        comparison_page.build_page(comparison_page.read_comparison([run, run.parent / "sound"]))
    except UserError as error:
        str(error).encode(errors="surrogatepass")


def changed(path: Path, share: float, number: int) -> Iterator[str]:
    """A `study.json` with one of its values wrong: in a share of its places, so many wrong values each."""
    sound = path.read_text()
    rng = random.Random(number)
    everywhere = list(places({**json.loads(sound), "splits": {}, "pre_trainings": {}, "epochs": {}}))
    for place in rng.sample(everywhere, int(share * len(everywhere))):
        for bad in rng.sample(BAD_VALUES, number):
            study = where = json.loads(sound)
            for key in place[:-1]:
                where = where.setdefault(key, {}) if isinstance(where, dict) else where[key]
            where[place[-1]] = bad
            path.write_text(json.dumps(study))
            yield f"{place} = {bad!r:.60}"


@pytest.mark.parametrize("some", [(0.15, 1), pytest.param((1.0, len(BAD_VALUES)), marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("kind", ["ablation", "search"])
def test_any_value_of_study_json_may_be_wrong(
    tmp_path: Path, kind: str, some: tuple[float, int], monkeypatch: pytest.MonkeyPatch
):
    for name in ("sound", "run"):
        if kind == "search":
            write_search(tmp_path / name, 6)
        else:
            write_run(tmp_path / name, ablation("full"), seeds=3)
    # Embedding plotly takes its time.
    monkeypatch.setattr("dashboards.report_sections.document", lambda title, *parts: str(title))
    for change in changed(tmp_path / "run" / "study.json", *some):
        try:
            survives(tmp_path / "run")
        except Exception as error:
            raise AssertionError(change) from error


NO_STUDIES = ["", "[]", "7", "null", '"x"', "{", "[" * 100_000, '{"a":' * 5000, '{"study": NaN}', "\x00"]


@pytest.mark.parametrize("text", [*NO_STUDIES, f'{{"seeds": [{"9" * 5000}]}}'])
def test_a_study_json_that_is_none_is_one_line(tmp_path: Path, text: str):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UserError, match=r"^[^\n]{1,400}$"):
        results.read_study(tmp_path)
    (tmp_path / "study.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError):
        results.read_study(tmp_path)


CELLS: dict[str, Any] = {
    "words for numbers": {"seconds": "long", "map": "high"},
    "a metric of words": {"map": "high"},
    "a nested metric": {"map": [[0.5]]},
    "no seed": {"seed": None},
    "an unknown status": {"status": "great"},
    "another cell's name": {"cell": "../../../etc/passwd"},
    "not a number": {"map": float("nan")},
    "infinity": {"map": float("inf"), "seconds": float("inf")},
    "giant": {"map": 1e308, "seconds": 1e308},
    "a bomb": {"history": "[" * 100_000, "config": "[" * 100_000, "environment": "{" * 100_000},
    "deep": {"config": '{"a":' * 500 + "1" + "}" * 500, "environment": '{"a":' * 500 + "1" + "}" * 500},
    "histories of something": {"history": '[[1], "x", {"loss": 1e999}]'},
    "giant histories": {"history": f'[{{"loss": {"9" * 400}, "erased_fraction": "x"}}]'},
    "a list for a mapping": {"config": "[1]", "environment": "[1]", "metric_ids": "[1]"},
    "half a pair": {"error": "\\ud800", "environment": '{"host": "\\ud800"}'},
    "episodes of something": {"right_by_episode": "[[1], 2]", "accuracy": 0.5},
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_of_other_types_is_a_line_or_a_report(tmp_path: Path, name: str):
    write(tmp_path / "sound", {"reference": dict.fromkeys(range(3), 0.5), "a": dict.fromkeys(range(3), 0.6)})
    run = write(tmp_path / "run", {"reference": dict.fromkeys(range(3), 0.5), "a": dict.fromkeys(range(3), 0.6)})
    for path in sorted((run / "cells").iterdir())[:4]:
        row = pq.read_table(path).to_pylist()[0] | CELLS[name]
        pq.write_table(pa.Table.from_pylist([row]), path)
    survives(run)


def test_what_is_no_cell_file_is_one_line(tmp_path: Path):
    run = write(tmp_path / "run", {"reference": dict.fromkeys(range(3), 0.5)})
    (path, *_) = sorted((run / "cells").iterdir())
    for content in (b"", b"PAR1", os.urandom(100), path.read_bytes()[:-20]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            results.load(run)
    for rows in (0, 2):
        pq.write_table(pa.table({"cell": [path.stem] * rows}), path)
        with pytest.raises(UserError, match=f"{rows} rows"):
            results.load(run)
    path.unlink()
    os.mkfifo(path)  # nobody writes into it: who opened it would wait for ever
    assert results.load(run).num_rows == 2


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.made), "w"))


def test_nothing_is_unpickled(tmp_path: Path):
    run = write(tmp_path / "run", {"reference": dict.fromkeys(range(3), 0.5)})
    (path, *_) = sorted((run / "cells").iterdir())
    table = pq.read_table(path)
    payload = pickle.dumps(Bomb(tmp_path / "made"))
    bomb = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": payload}
    fields = [one.with_metadata(bomb) if one.name == "map" else one for one in table.schema]
    pq.write_table(table.cast(pa.schema(fields, metadata={b"pandas": payload})), path)
    survives(run)
    assert not (tmp_path / "made").exists()


def test_nothing_outside_the_run_is_read_or_written(tmp_path: Path):
    (tmp_path / "secret.csv").write_text("# paper: secret\nsrem.size,map\n1,2\n")
    run = write(tmp_path / "runs" / "run", {"reference": dict.fromkeys(range(3), 0.5)})
    before = {path for path in tmp_path.rglob("*") if run not in path.parents}
    study = read_study_json(run)
    for name in ("../../etc/passwd", f"../../../..{tmp_path}/secret", f"{tmp_path}/secret", "fcaenet/../../secret"):
        write_study_json(run, study | {"published": name})
        with pytest.raises(UserError, match="paper/table"):
            dashboards.report.write(run)
    cells = [{**cell, "cell": f"../../../{cell['cell']}"} for cell in study["cells"]]
    write_study_json(run, study | {"cells": cells})
    assert results.load(run).num_rows == 0
    survives(run)
    write_study_json(run, study)
    (tmp_path / "elsewhere").mkdir()
    if (run / "tables").exists():
        for path in (run / "tables").iterdir():
            path.unlink()
        (run / "tables").rmdir()
    (run / "tables").symlink_to(tmp_path / "elsewhere")
    (run / "report.html").unlink(missing_ok=True)
    (run / "report.html").symlink_to(tmp_path / "target.html")
    with pytest.raises(UserError, match="is a link"):
        dashboards.report.write(run)
    (run / "tables").unlink()
    dashboards.report.write(run)  # a link in the page's place is replaced, not followed
    assert {path for path in tmp_path.rglob("*") if run not in path.parents} - {tmp_path / "elsewhere"} == before


def test_the_command_ends_with_a_line(tmp_path: Path):
    run = write(tmp_path / "run", {"reference": dict.fromkeys(range(3), 0.5)})
    study = json.loads((run / "study.json").read_text())
    (run / "study.json").write_text(json.dumps(study | {"published": "../../etc/\x1b[31mpasswd"}))
    done = subprocess.run([sys.executable, "-m", "raysearch.report", str(run)], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "\x1b" not in done.stderr
