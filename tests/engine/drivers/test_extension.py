"""A sampler and a scheduler, each one file outside the package, are used by a search; Ray is not started."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from ray import tune
from ray.tune.schedulers import MedianStoppingRule

from raysearch.core import UserError, extensions
from raysearch.engine.drivers.samplers import build_sampler
from raysearch.engine.drivers.search import SearchDriver
from raysearch.engine.drivers.suggestions import Suggestions
from raysearch.engine.trials import schedulers
from raysearch.engine.trials.jobs import Objective
from raysearch.studies.design import Search, plan_search
from raysearch.studies.design.search_methods import SAMPLERS, SCHEDULERS

# It suggests the numbers of its option in turn, so that a test knows what it must have suggested.
SAMPLER = """
import optuna
from raysearch.extend import sampler


@sampler("in_turn")
class InTurnSampler(optuna.samplers.RandomSampler):
    def __init__(self, seed=None, values=(0.001, 0.01)):
        super().__init__(seed=seed)
        self._values = values

    def sample_independent(self, study, trial, name, distribution):
        return self._values[trial.number % len(self._values)]
"""

SCHEDULER = """
from ray.tune.schedulers import MedianStoppingRule
from raysearch.extend import scheduler


@scheduler("patient", resumable=False)
def build_patient(request):
    return MedianStoppingRule(**request.common, **{"grace_period": request.steps // 2} | dict(request.options))
"""


@pytest.fixture
def extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file with both, loaded as by `--extension`, and forgotten afterwards."""
    file = tmp_path / "my_search.py"
    file.write_text(SAMPLER + SCHEDULER)
    monkeypatch.delenv(extensions.VARIABLE, raising=False)
    extensions.load([str(file)])
    try:
        yield file
    finally:
        extensions._loaded.discard(str(file))
        SAMPLERS._items.pop("in_turn", None)
        SCHEDULERS._items.pop("patient", None)
        sys.modules.pop("my_search", None)
        os.environ.pop(extensions.VARIABLE, None)


def search(**changes: Any) -> Search:
    fields: dict[str, Any] = {
        "question": "Which rate?",
        "task": "retrieval",
        "space": {"train.lr": tune.loguniform(1e-4, 1e-1)},
        "sampler": "in_turn",
        "sampler_options": {"values": (0.002, 0.02, 0.05)},
        "trials": 3,
        "judge_seeds": 0,
    }
    return Search(**fields | changes)


def test_a_search_runs_with_a_sampler_from_a_file(extension: Path, tmp_path: Path) -> None:
    plan = plan_search("study", search(), "laptop", "data")
    SearchDriver(plan).validate()
    suggestions = Suggestions(plan, plan.groups[0], tmp_path / "optuna.db", str(tmp_path / "checkpoints"))
    rates = []
    while (job := suggestions.next()) is not None:
        rate = job.config["train"]["lr"]
        rates.append(rate)
        value = 1 - abs(math.log10(rate) + 2)
        suggestions.ended(job, {"cell": job.cell, "status": "finished", "map_validation": value, "epoch_seconds": 1.0})
    assert rates == [0.002, 0.02, 0.05]
    trials = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/optuna.db").trials
    assert [trial.params["train.lr"] for trial in trials] == rates
    assert suggestions.optuna.front()[0].startswith("1: "), "0.02 is the nearest to 0.01"


def test_build_sampler_checks_the_options_of_a_sampler_from_a_file(extension: Path) -> None:
    sampler = build_sampler("in_turn", {"values": (0.5,)}, seed=0)
    assert type(sampler).__name__ == "InTurnSampler"
    with pytest.raises(UserError, match="sampler 'in_turn' has no option 'value'; did you mean 'values'"):
        build_sampler("in_turn", {"value": (0.5,)}, seed=0)


def test_a_scheduler_from_a_file(extension: Path) -> None:
    SearchDriver(plan_search("study", search(scheduler="patient"), "laptop", "data")).validate()
    built = schedulers.build_scheduler("patient", Objective("map_validation", "max"), 8, {})
    assert isinstance(built, MedianStoppingRule)
    assert built._grace_period == 4
    assert not SCHEDULERS["patient"].resumable
    wrong = plan_search("study", search(scheduler="patient", scheduler_options={"grace": 3}), "laptop", "data")
    with pytest.raises(UserError, match="scheduler 'patient': "):
        SearchDriver(wrong).validate()


STUDY = """
from ray import tune
from raysearch import Search
study = Search(
    question="Which rate?",
    task="retrieval",
    space={{"train.lr": tune.loguniform(1e-4, 1e-1)}},
    sampler="{sampler}",
    scheduler={scheduler},
)
"""


def sweep(folder: Path, sampler: str, scheduler: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "study.py").write_text(STUDY.format(sampler=sampler, scheduler=scheduler))
    command = [sys.executable, "-m", "raysearch.sweep", "study.py", "--dry-run", *words]
    environment = {name: value for name, value in os.environ.items() if name != extensions.VARIABLE}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=120)


def test_the_command_loads_the_file(tmp_path: Path) -> None:
    (tmp_path / "my_search.py").write_text(SAMPLER + SCHEDULER)
    done = sweep(tmp_path, "in_turn", '"patient"', "--extension", "my_search.py")
    assert done.returncode == 0, done.stderr
    assert "configs by in_turn, stopped early by patient" in done.stdout


@pytest.mark.parametrize(
    ("sampler", "scheduler", "message"),
    [
        ("in_turns", "None", "unknown sampler 'in_turns'; known: cmaes, gp, grid, nsga2, nsga3, qmc, random, tpe"),
        ("tpe", '"ashes"', "unknown scheduler 'ashes'; did you mean 'asha'? Known: asha, hyperband, median, pbt"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_known_ones(
    tmp_path: Path, sampler: str, scheduler: str, message: str
) -> None:
    done = sweep(tmp_path, sampler, scheduler)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert message in line
