"""The studies of docs/your_model_libraries.md: each runs, and the one with steps continues exactly from each state.

A study is skipped where its library is not installed: raysearch needs neither.
"""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raysearch import train
from raysearch.studies.configs import overrides
from raysearch.studies.design.study_files import load_study
from raysearch.tasks import builders
from raysearch.tasks.base import Task, Worker

from ..commands import run_app
from .pages import ROOT, Page

STUDIES = {
    block.file_name: block.text
    for block in Page(ROOT / "docs" / "your_model_libraries.md").blocks
    if block.language == "python"
}
LIBRARIES = {"my_lightning.py": "lightning", "my_forest.py": "sklearn"}


@pytest.fixture
def study(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Save a study in a folder of its own, and return its name."""
    name: str = request.param
    pytest.importorskip(LIBRARIES[name])
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(STUDIES[name])
    return name


def test_each_study_is_known() -> None:
    assert set(STUDIES) == set(LIBRARIES)


@pytest.mark.parametrize("study", LIBRARIES, indirect=True)
def test_a_study_trains(study: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(train.app, study) in (0, None)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["accuracy"] > 0.6


@pytest.mark.parametrize("study", ["my_lightning.py"], indirect=True)
def test_lightning_continues_from_each_state_with_the_same_numbers(study: str, tmp_path: Path) -> None:
    _, loaded = load_study(study)
    config = overrides.resolve(loaded.task, {**loaded.base, **loaded.reference, "width": 8})
    build = builders.builder_for_workers(loaded.task)
    states: list[bytes] = []

    def _build(name: str) -> Task:
        return build(config.model_dump(mode="json"), 3, Worker(None, tmp_path, out=tmp_path / name))

    def _advance(task: Task, done: int) -> list[dict[str, Any]]:
        reports = []
        for _ in range(done, task.steps):
            report = task.advance()
            assert report is not None
            reports.append({name: value for name, value in report.items() if name != "seconds"})
            buffer = io.BytesIO()
            torch.save(task.state_dict(), buffer)
            states.append(buffer.getvalue())
        return reports

    whole = _build("whole")
    reports = _advance(whole, 0)
    metrics = whole.evaluate()
    assert len(reports) == 5
    for done, state in enumerate(list(states), start=1):
        torch.rand(7)
        task = _build(f"from {done}")
        task.load_state_dict(torch.load(io.BytesIO(state), weights_only=True))
        assert _advance(task, done) == reports[done:]
        assert task.evaluate() == metrics
