"""`raysearch train` with a user's study file: one run of its task, without Ray."""

import json
from pathlib import Path
from typing import Any

import pytest

from raysearch import train

from .commands import run_app

FUNCTION = """
from raysearch import Ablation, Search, factor
from ray import tune


def fit(run):
    for step in run.steps(run.config["epochs"]):
        run.report({"accuracy_validation": run.config["width"] / 100})
    (run.out / "note.txt").write_text(str(run.config["width"]))
    return {"accuracy": run.config["width"] / 10}

"""
ABLATION = (
    FUNCTION
    + """
study = Ablation("?", fit, {"width": 4}, [factor("width", 2)], base={"epochs": 2}, metric="accuracy")
"""
)
SEARCH = (
    FUNCTION
    + """
study = Search("?", fit, {"width": tune.choice([1, 2])}, base={"epochs": 9}, reference={"width": 3},
               objective="accuracy_validation", judge_metric="accuracy")
"""
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _train(source: str, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    Path("my_study.py").write_text(source)
    assert run_app(train.app, "my_study.py", *words) in (0, None)
    metrics: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return metrics


@pytest.mark.parametrize(("source", "width"), [(ABLATION, 4), (SEARCH, 3)])
def test_the_reference_is_trained(source: str, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(source, capsys)["accuracy"] == width / 10


@pytest.mark.parametrize("source", [ABLATION, SEARCH])
def test_a_setting_is_changed_also_one_that_a_search_varies(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(source, capsys, "--set", "width=7")["accuracy"] == 0.7


def test_files_of_the_function_are_kept_here(capsys: pytest.CaptureFixture[str]) -> None:
    _train(ABLATION, capsys)
    assert Path("files/note.txt").read_text() == "4"


def test_a_wrong_value_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my_study.py").write_text(SEARCH)
    assert run_app(train.app, "my_study.py", "--set", "width=wide") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "width='wide': expected a number" in error
