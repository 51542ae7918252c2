"""Run directories of an earlier version are reported, compared and continued.

`tests/fixtures/earlier_version` holds three small runs, written by commit 5bd47b9, and the tables that it drew of them.
The data set is `tiny_data`.
"""

import csv
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dashboards.report
from dashboards.comparison import page as comparison
from raysearch.runs import results

from ..study_json import read_study_json

FIXTURES = Path(__file__).parents[1] / "fixtures" / "earlier_version"
NAMES = ("ablation", "after", "search")
DELETED = {
    "ablation": ("01c37a02187531472ea8", "23a0217c854b2b771c12"),
    "search": ("d1cb66cc0a4dd77a78bf",),  # judges the best config
}


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    """Copy a run, so that it can be written to; copies have no neighbors whose cells they could take over."""

    def copy(name: str) -> Path:
        return shutil.copytree(FIXTURES / name, tmp_path / f"of_{name}" / name)

    return copy


def fields(text: str) -> list[str | float]:
    """The fields of a CSV file, with numbers as floats."""
    parsed: list[str | float] = []
    for field in itertools.chain.from_iterable(csv.reader(io.StringIO(text))):
        try:
            parsed.append(float(field))
        except ValueError:
            parsed.append(field)
    return parsed


def sweep(run: Path, data: Path, *words: str) -> str:
    """Continue a run with the study file it was made from, and return the output."""
    command = [sys.executable, "-m", "raysearch.sweep", str(FIXTURES / f"{run.name}.py"), "--profile", "laptop"]
    command += ["--data", str(data), "--out", str(run), *words]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def delete_cells(run: Path) -> None:
    for cell in DELETED[run.name]:
        (run / "cells" / f"{cell}.parquet").unlink()


def machine(row: dict[str, Any]) -> tuple[str, str]:
    """What decides whether a cell's numbers are the same bit for bit."""
    environment = json.loads(row["environment"])
    return environment["versions"]["torch"], environment["hardware"]["processor"]


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_written_as_it_was_read(name: str, tmp_path: Path):
    results.write_study(tmp_path, results.read_study(FIXTURES / name))
    assert read_study_json(tmp_path) == read_study_json(FIXTURES / name)


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_hold_the_numbers_that_the_earlier_version_wrote(name: str, copy_of: Callable[[str], Path]):
    run = copy_of(name)
    shutil.rmtree(run / "tables")
    dashboards.report.write(run)
    expected = sorted(path.name for path in (FIXTURES / name / "tables").iterdir())
    assert {path.name for path in (run / "tables").iterdir()} >= set(expected)
    for file in expected:
        before = (FIXTURES / name / "tables" / file).read_text()
        after = (run / "tables" / file).read_text()
        if file.endswith(".csv"):
            for written, expected_field in zip(fields(after), fields(before), strict=True):
                if isinstance(expected_field, float):
                    assert written == pytest.approx(expected_field, rel=1e-9, abs=1e-12)
                else:
                    assert written == expected_field
        elif file.endswith(".tex"):  # of other columns now
            assert re.findall(r"[01]\.\d{3}", before)[0] in after
            for variant in {line.split("&")[0].strip() for line in before.splitlines() if "&" in line}:
                assert variant in after
        else:  # one caption has other words now
            for word in ("better", "worse"):
                before = before.replace(f"decided {word}", f"significantly {word}")
            assert after == before


def test_two_runs_are_compared(copy_of: Callable[[str], Path]):
    runs = [copy_of(name) for name in ("ablation", "after")]
    shown = comparison.read_comparison(runs)
    assert {match.verdict for match in shown.matches} == {"same cells"}
    assert {match.variant.name for match in shown.matches} == {"reference", "srem.regions=0"}
    assert "Does a larger region help?" in comparison.build_page(shown)


def test_finished_cells_are_known_to_a_dry_run(copy_of: Callable[[str], Path], tiny_data: Path):
    run = copy_of("ablation")
    assert "12 cells: 12 ended, 0 to run" in " ".join(sweep(run, tiny_data, "--dry-run").split())
    delete_cells(run)
    assert "12 cells: 10 ended, 2 to run" in " ".join(sweep(run, tiny_data, "--dry-run").split())
    searched = " ".join(sweep(copy_of("search"), tiny_data, "--dry-run").split())
    assert "at most 11 cells: 11 ended" in searched


def without_later_settings(later: Any, earlier: Any) -> Any:
    """Return a record without the keys that the earlier one does not have: settings that were added since."""
    if isinstance(earlier, dict):
        return {key: without_later_settings(later[key], value) for key, value in earlier.items()}
    if isinstance(earlier, list):
        return [without_later_settings(*pair) for pair in zip(later, earlier, strict=True)]
    return later


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ablation", "search"])
def test_a_run_is_continued_to_the_same_results(name: str, copy_of: Callable[[str], Path], tiny_data: Path):
    run = copy_of(name)
    before = {row["cell"]: row for row in results.load(run).to_pylist()}
    delete_cells(run)
    sweep(run, tiny_data)
    after = {row["cell"]: row for row in results.load(run).to_pylist()}
    assert after.keys() == before.keys()
    for cell, row in after.items():
        if cell not in DELETED[name]:
            assert {column: row[column] for column in before[cell]} == before[cell]
            assert {row[column] for column in row.keys() - before[cell].keys()} <= {None}, "columns of later versions"
            continue
        same = ("variant", "seed", "status", "config", "metric_ids", "epochs", "data", "code_version")
        assert [row[column] for column in same] == [before[cell][column] for column in same]
        if machine(row) == machine(before[cell]):
            assert row["map"] == before[cell]["map"]
    earlier, later = read_study_json(FIXTURES / name), read_study_json(run)
    assert later.keys() >= earlier.keys()
    for key in ("study", "variants", "cells", "metric_id", "references", "started", "best"):
        assert without_later_settings(later.get(key), earlier.get(key)) == earlier.get(key), key
