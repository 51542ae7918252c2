"""The count of lines: what counts as code, that the script ends with its figures, and that its study can run."""

import json
import sys
from pathlib import Path

import lines_of_code
import pytest

from raysearch.studies.design import PlanRequest, plan_study
from raysearch.studies.design.study_files import load_study

SOURCE = '''"""Documentation
of a module."""

import math  # counts


class Circle:
    """Documentation."""

    # a comment
    text = """two

    lines"""

    def area(self):
        """Documentation."""
        return (
            math.pi
        )
'''


def test_lines_with_code_count() -> None:
    assert lines_of_code.count_lines(SOURCE) == 8


def test_it_ends_with_its_figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["lines_of_code", "--quick"])
    lines_of_code.main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    lines = figures.pop("lines")
    assert list(lines) == ["raysearch", "ray_tune", "optuna", "lightning"]
    assert all(ratio > 1 for ratio in figures.values())


def test_its_study_plans() -> None:
    name, study = load_study(str(Path(lines_of_code.FOLDER) / "by_raysearch.py"))
    plan = plan_study(study, PlanRequest(name, "laptop", {}))
    assert len(plan.variants) == 4
    assert len(plan.cells) == 20
