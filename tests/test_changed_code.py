"""`sweep --dry-run` names the file of the user whose change makes finished cells run again."""

import json
from pathlib import Path

import pytest

from raysearch import check_study, sweep
from raysearch.data import class_splits, shards
from raysearch.runs import describe, results

from .commands import run_app

STUDY = """
from helpers import score
from raysearch import Ablation, factor


def fit(run):
    return {"accuracy": score(run.config["width"])}


study = Ablation("?", fit, {"width": 4}, [factor("width", 2, 8)], metric="accuracy", seeds=3)
"""
HELPERS = "def score(width):\n    return width / 10\n"


@pytest.fixture(autouse=True)
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of the study, whose cells have all finished."""
    monkeypatch.chdir(tmp_path)
    Path("my_study.py").write_text(STUDY)
    Path("helpers.py").write_text(HELPERS)
    plan = check_study("my_study.py").for_data(class_splits.data_identity(shards.NO_DATA))
    record = describe.describe_ablation(plan)
    run = Path("run")
    for cell in plan.cells:
        row = {"seed": cell.seed, "cell": cell.hash, "status": "finished", "accuracy": 0.5, "seconds": 1.0}
        row |= {"config": json.dumps(cell.variant.config.canonical()), "device": "cpu", "gpu_seconds": 0.0}
        results.write_cell(run / "cells", row)
    results.write_study(run, record)


def _dry_run(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    capsys.readouterr()
    assert run_app(sweep.app, "my_study.py", "--dry-run", "--out", "run", *words) in (0, None)
    return capsys.readouterr().out.splitlines()


def test_nothing_is_said_where_nothing_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert _dry_run(capsys)[-1] == "9 cells: 9 ended, 0 to run, which costs nothing"


@pytest.mark.parametrize("name", ["my_study.py", "helpers.py"])
def test_the_file_that_changed_is_named(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(name).read_text()
    Path(name).write_text(source.replace("score(width)", "score(width, by=10)").replace("(run.", "(1 * run."))
    assert _dry_run(capsys)[-2:] == [
        "9 cells: 0 ended, 9 to run, of a cost not known yet",
        f"9 cells of an earlier call run again: {name} changed",
    ]


def test_a_comment_and_a_further_level_change_no_finished_cell(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my_study.py").write_text(STUDY.replace('"width", 2, 8', '"width", 2, 8, 16') + "# a comment\n")
    lines = _dry_run(capsys)
    assert lines[-1].startswith("12 cells: 9 ended, 3 to run")
    assert not any("run again" in line for line in lines)
