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


CLASS = """
from pathlib import Path

from raysearch import Ablation, factor


class Line:
    steps = 1

    def __init__(self, config, seed, worker):
        self.width = config["width"]

    def advance(self):
        return {"loss": 0.5, "slope": 0.25}

    def evaluate(self):
        return {"accuracy": self.width / 10}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def inspect(self):
        return {"line": [[0.0, 1.0]]}

    def export(self, path):
        Path(f"{path}.data").write_text("weights")
        path.write_text(str(self.width))


study = Ablation("?", Line, {"width": 4}, [factor("width", 2)], metric="accuracy")
"""


def test_a_class_writes_its_model_and_its_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("my_study.py").write_text(CLASS)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "line.bin").write_text("before")
    assert run_app(train.app, "my_study.py", "--export", "models/line.bin") in (0, None)
    output = capsys.readouterr().out
    assert "epoch 1/1 \u00b7 loss 0.5 \u00b7 slope 0.25" in output
    assert "wrote models/line.bin: the model, as my_study.py:Line exports it" in output
    files = {path.name: path.read_text() for path in (tmp_path / "models").iterdir()}
    assert files == {"line.bin": "4", "line.bin.data": "weights"}
    assert Path("files/line.png").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (ABLATION, "'my_study.py:fit' is a function, which has no model to export; let it write one to run.out"),
        (CLASS.replace("def export", "def write"), "class 'my_study.py:Line' has no method export(path)"),
    ],
)
def test_a_task_without_an_export_is_refused_before_it_trains(
    source: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my_study.py").write_text(source)
    assert run_app(train.app, "my_study.py", "--export", "model.bin") == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith(f"error: --export: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [(), ("--export", "model.bin")])
@pytest.mark.parametrize("method", ["evaluate(self)", "inspect(self)", "export(self, path)"])
def test_an_error_at_the_end_shows_the_lines_of_the_file(
    method: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    raising = CLASS.replace(f"def {method}:", f"def {method}:\n        {{}}['no']")
    Path("my_study.py").write_text(raising)
    fails = words or "export" not in method
    assert run_app(train.app, "my_study.py", *words) in ((1,) if fails else (0, None))
    shown = capsys.readouterr().out.partition("Traceback (most recent call last):\n")[2]
    if fails:
        assert "my_study.py" in shown.splitlines()[0]
        assert "raysearch/" not in shown
        assert "KeyError: 'no'" in shown
    assert not Path("model.bin").exists() or not fails


def test_an_error_after_the_last_report_shows_the_lines_of_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my_study.py").write_text(ABLATION.replace("return {", "1 / 0\n    return {"))
    assert run_app(train.app, "my_study.py") == 1
    shown = capsys.readouterr().out.partition("Traceback (most recent call last):\n")[2]
    assert shown.splitlines()[1].strip() == "1 / 0"
