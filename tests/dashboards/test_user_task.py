"""Pages of a user's task: they say of its metrics and settings only what raysearch can know."""

from pathlib import Path
from typing import Any

import pytest

import dashboards.report
from dashboards.comparison import page as comparison_page
from raysearch.runs import results

from .conftest import Page
from .written import write

VALUES = {"reference": {0: 0.5, 1: 0.6, 2: 0.4}, "width=4": {0: 0.6, 1: 0.7, 2: 0.6}}
TASK: dict[str, Any] = {
    "metric": "accuracy",
    "metric_id": "accuracy@my_study.py:train",
    "task": "my_study.py:train",
    "code": {"my_study.py": "0123456789abcdef"},
    "profile": "laptop",
    "profile_reason": "No --data was given; the task loads its own.",
    "data": {"name": "loaded by the task", "layout": "none", "content_hash": "none"},
}
FOREIGN = ("episode", "queries", "--data", "Network", "Layout", "Data hash", "Code version", "small network")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    cells = {"metric_ids": '{"accuracy": "accuracy@my_study.py:train"}', "history": "[]", "code_version": 2**40}
    return write(tmp_path / "run", VALUES, cells=cells, **TASK)


def test_a_report_says_nothing_of_other_tasks(run: Path) -> None:
    text = Page(dashboards.report.write(run, results.load(run)).read_text()).text
    assert [word for word in FOREIGN if word in text] == []
    assert "accuracy@my_study.py:train: a number that the task returns. Higher is better." in text
    assert "my_study.py 0123456789abcdef" in text


def test_a_comparison_says_nothing_of_other_tasks(run: Path, tmp_path: Path) -> None:
    write(tmp_path / "later", VALUES, cells={"metric_ids": '{"accuracy": "accuracy@my_study.py:train"}'}, **TASK)
    compared = comparison_page.read_comparison([run, tmp_path / "later"])
    text = Page(comparison_page.write_comparison(compared, tmp_path / "out").read_text()).text
    assert "a number that the task returns" in text
    assert [word for word in FOREIGN if word in text] == []
