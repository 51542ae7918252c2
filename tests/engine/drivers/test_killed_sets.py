"""A study on several data sets whose process is killed: the same command goes on, and the table is the same."""

import os
import signal
from pathlib import Path

import pytest

from dashboards import report
from raysearch.runs import results

from ...commands import run_python
from . import killed_sets
from .without_cluster import drive

ROOT = Path(__file__).parents[3]
NUMBER = 31  # of 72 cells: within the second seed


def _tables(run_dir: Path) -> dict[str, str]:
    study = results.read_study(run_dir)
    kind = report.report_kind(study)
    return kind.files(kind.view(study, results.load(run_dir)))


@pytest.mark.parametrize("moment", ["computing", "writing"])
def test_every_cell_runs_once_and_the_tables_are_those_of_an_undisturbed_run(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    cells = [cell.hash for cell in killed_sets.plan().cells]
    run_dir = tmp_path / "killed" / "run"
    killed = run_python(["-m", "tests.engine.drivers.killed_sets"], run_dir, NUMBER, moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert {path.stem for path in (run_dir / "cells").glob("*.parquet")} == {*cells[:NUMBER]}
    half_way = report.answer(results.read_study(run_dir), results.load(run_dir))
    assert half_way.startswith("No verdict before the plan is complete.")

    complete, ran = drive(killed_sets.plan(), run_dir, killed_sets.score)
    assert complete
    assert [job.cell for job in ran] == cells[NUMBER:]
    assert sorted(results.load(run_dir)["cell"].to_pylist()) == sorted(cells)
    assert drive(killed_sets.plan(), run_dir, killed_sets.score) == (True, [])

    undisturbed = tmp_path / "undisturbed" / "run"
    assert drive(killed_sets.plan(), undisturbed, killed_sets.score)[0]
    assert _tables(run_dir) == _tables(undisturbed)
