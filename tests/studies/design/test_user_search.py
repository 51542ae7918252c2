"""A search over the settings of a user's function: its steps, groups and starts, and what it cannot do."""

from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.engine.preflight.search_check import check_search
from raysearch.studies.design import PlanRequest, load_study, plan_study

SEARCH = """
from ray import tune
from raysearch import Search, factor


def train(run):
    for epoch in run.steps(run.config["epochs"]):
        run.report({"loss": 1.0, "score_validation": run.config["lr"]})
    return {"score": run.config["lr"]}


study = Search(
    question="Which rate?", task=train, base={"epochs": 9}, reference={"lr": 0.1}, space={"lr": tune.uniform(0, 1)},
    objective="score_validation", judge_metric="score", trials=4, judge_seeds=3,
)
"""


def _plan(tmp_path, monkeypatch, old="", new="", settings=None):
    monkeypatch.chdir(tmp_path)
    Path("my_search.py").write_text(SEARCH.replace(old, new) if old else SEARCH)
    name, study = load_study("my_search.py")
    plan = plan_study(study, PlanRequest(name, "laptop", settings or {}))
    check_search(study, plan)
    return plan


def _steps(plan):
    return [plan.reference(group).config.steps for group in plan.groups]


def test_epochs_are_the_steps_that_early_stopping_counts(tmp_path, monkeypatch):
    plan = _plan(tmp_path, monkeypatch)
    assert _steps(plan) == [9]
    assert plan.search.metrics == ["score_validation"]
    assert _steps(_plan(tmp_path, monkeypatch, settings={"epochs": 3})) == [3]


def test_groups_and_starts_and_seeds(tmp_path, monkeypatch):
    more = "trials=4, seeds=2, starts=[{'lr': 0.5}], group=factor('epochs', 3, 9),"
    assert _steps(_plan(tmp_path, monkeypatch, "trials=4,", more)) == [3, 9]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials=4,", "trials=4, scheduler='pbt',", "scheduler 'pbt' changes settings of a model in training"),
        ('base={"epochs": 9}, ', "", "scheduler 'asha' has to know how many steps a run has: add the setting 'epochs'"),
        ("trials=4,", "trials=4, starts=[{'lr': 3}],", "start 1: lr=3 is outside of the space"),
        ("trials=4,", "trials=4, starts=[{'rl': 1}],", "start 1: 'rl' is not in the space"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, monkeypatch, old, new, message):
    with pytest.raises(UserError) as caught:
        _plan(tmp_path, monkeypatch, old, new)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_scheduler_the_number_of_steps_need_not_be_known(tmp_path, monkeypatch):
    assert _plan(tmp_path, monkeypatch, 'base={"epochs": 9},', "scheduler=None,")
