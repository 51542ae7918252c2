"""A user's function on two workers: rank 0's numbers count, and a rank that goes another way ends in one line."""

import json

import pytest

from .user_ranks_process import STUCK
from .worker_group import run_groups

MODULE = "tests.tasks.user_ranks_process"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Return the outcome of each function, world size and rank."""
    folder = tmp_path_factory.mktemp("ranks")
    run_groups(MODULE, folder)
    return {path.name: json.loads(path.read_text()) for path in folder.glob("*-*-*") if path.stat().st_size}


def test_rank_zero_reports_and_returns_for_all(outcomes):
    reports, metrics = outcomes["trains-2-0"]
    assert [report["iteration"] for report in reports] == [1, 2, 3]
    assert all(report["rank"] == 0 and "other" not in report for report in reports)
    assert outcomes["trains-2-1"] == [reports, metrics]


def test_gradients_are_averaged_over_the_workers(outcomes):
    assert outcomes["trains-2-0"][1]["score"] == pytest.approx(outcomes["trains-1-0"][1]["score"], rel=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("counts_otherwise", "rank 0 has 3 steps, and rank 1 has 2 steps; all workers run the same steps"),
        ("reports_once_more", "rank 0 returned after 2 of 3 steps, and rank 1 reported step 3"),
        ("returns_a_text", "'score' is a str ('high'), not a number"),
    ],
)
def test_ranks_that_differ_end_in_one_line_on_all(outcomes, function, message):
    assert message in outcomes[f"{function}-2-0"]
    assert "user_ranks_process.py:" in outcomes[f"{function}-2-0"]
    assert isinstance(outcomes[f"{function}-2-1"], str)
    assert "\n" not in outcomes[f"{function}-2-0"]


@pytest.mark.slow
@pytest.mark.parametrize("function", [function.__name__ for function in STUCK])
def test_a_rank_that_waits_in_a_collective_is_told(tmp_path, function):
    folder = tmp_path / function
    folder.mkdir()
    run_groups(MODULE, folder)
    waiting = json.loads((folder / f"{function}-2-0").read_text())
    message = {
        "raises": "rank 1: ValueError: no such row (user_ranks_process.py, line ",
        "ends_early": "rank 0 still runs after 1 s, and rank 1 returned after 1 of 3 steps",
    }[function]
    assert message in waiting
