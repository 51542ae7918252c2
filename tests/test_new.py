"""`raysearch new`: each file that it writes is a study as it is, and nothing is overwritten."""

import json
from pathlib import Path

import pytest

from raysearch import new, train
from raysearch.studies.design import PlanRequest, load_study, plan_study

from .commands import run_app

CELLS = {"": 20, "--loss": 9, "--head": 6}


@pytest.mark.parametrize("kind", [*CELLS, "--search"])
def test_the_file_is_a_study_as_it_is(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    assert not run_app(new.app, "my_study.py", *kind.split())
    text = Path("my_study.py").read_text()
    assert "STUDY_" not in text
    assert "raysearch sweep my_study.py" in text
    name, study = load_study("my_study.py")
    plan = plan_study(study, PlanRequest(name, "laptop", {}))
    if kind == "--search":
        assert [plan.reference(group).config.steps for group in plan.groups] == [9]
    else:
        assert len(plan.cells) == CELLS[kind]


@pytest.mark.parametrize("kind", ["", "--search"])
def test_it_trains_without_ray(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.chdir(tmp_path)
    run_app(new.app, "my_study.py", *kind.split())
    assert not run_app(train.app, "my_study.py")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["accuracy"] > 0.4  # three spirals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["there.py"], "'there.py' exists"),
        (["my_study.txt"], "is not a Python file; call it my_study.py"),
        (["a.py", "--loss", "--head"], "--loss and --head exclude each other"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    Path("there.py").write_text("mine")
    assert run_app(new.app, *words) == 2
    assert message in " ".join("".join(capsys.readouterr()).split())
    assert [path.name for path in tmp_path.iterdir()] == ["there.py"]
    assert Path("there.py").read_text() == "mine"
