"""The identity of a space that is a function is what the function refers to. Old trials outside of it do not win."""

import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from raysearch.engine.drivers.search_record import best_config
from raysearch.engine.drivers.space import SearchSpace, describe_references
from raysearch.engine.drivers.suggestions import Suggestions
from raysearch.studies.design import Search, load_study, search_plan

FILE = """
import functools, math
from dataclasses import dataclass
from enum import Enum
import helpers
from helpers import pick
LIMITS = (1e-4, 1e-1)
SIZES = [16, 32]
OPTIONS = {{"low": 0, "high": {{10, 20}}}}
UNUSED = 1
class Rate(Enum):
    LOW = 1e-3
@dataclass
class Bounds:
    low: int = 0
    high: int = 50
    def middle(self):
        return (self.low + self.high) // 2
BOUNDS = Bounds()
def rate(trial, low=1e-4):
    return trial.suggest_float("train.lr", low, LIMITS[1], log=True)
def decorated(function):
    @functools.wraps(function)
    def inner(trial):
        return function(trial)
    return inner
def make(step):
    @decorated
    def space(trial):
        "Draws."
        rate(trial)
        pick(trial)
        import late
        trial.suggest_int("srem.regions", BOUNDS.low, BOUNDS.high, step=step)
        trial.suggest_categorical("srem.size", SIZES)
        erased = math.sqrt(4) * helpers.FACTOR + (Rate.LOW.value > OPTIONS["low"])
        return {{"train.batch": late.BATCH, "esrl.erased": erased}}
    return space
space = make(5)
"""
HELPERS = """
FACTOR = 0.1
OTHER = 3
def pick(trial):
    return deeper(trial)
def deeper(trial):
    return trial.suggest_int("train.iterations", 1, 3)
"""
LATE = "BATCH = 16\n"

CHANGES = [
    ("study", "(1e-4, 1e-1)", "(1e-4, 1e-2)"),
    ("study", "[16, 32]", "[16, 32, 64]"),
    ("study", "[16, 32]", "[32, 16]"),
    ("study", '"low": 0', '"low": 1'),
    ("study", "10, 20", "10, 30"),
    ("study", "LOW = 1e-3", "LOW = 1e-2"),
    ("study", "low: int = 0", "low: int = 5"),
    ("study", "(self.low + self.high) // 2", "(self.low + self.high) // 3"),
    ("study", "BOUNDS = Bounds()", "BOUNDS = Bounds(high=20)"),
    ("study", "low=1e-4", "low=1e-3"),
    ("study", "make(5)", "make(10)"),
    ("study", "return function(trial)", "return function(trial) or {{}}"),
    ("study", "sqrt(4)", "sqrt(9)"),
    ("helpers", "FACTOR = 0.1", "FACTOR = 0.2"),
    ("helpers", "1, 3)", "1, 4)"),
    ("late", "16", "32"),
]
NO_CHANGES = [
    *[("helpers", "OTHER = 3", "OTHER = 4"), ("helpers", "def pick", "# A comment.\ndef pick")],
    *[("study", "UNUSED = 1", "UNUSED = 2"), ("study", "10, 20", "20, 10")],
    ("study", "rate(trial)\n", "rate(trial)  # of Adam\n\n"),
]


def identity(folder: Path, change: tuple[str, str, str] | None, monkeypatch: pytest.MonkeyPatch) -> Any:
    files = {"study": FILE.format(), "helpers": HELPERS, "late": LATE}
    if change is not None:
        name, before, after = change
        after = after.format() if "{{" in after else after
        assert before in files[name]
        files[name] = files[name].replace(before, after, 1)
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr(sys, "dont_write_bytecode", True)
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
            patch.delitem(sys.modules, name, raising=False)
        namespace: dict[str, Any] = {"__name__": "study_file"}
        exec(compile(files["study"], str(folder / "study.py"), "exec"), namespace)
        described = describe_references(namespace["space"])
        assert described == describe_references(namespace["space"]), "not the same twice"
        for name in files:
            sys.modules.pop(name, None)
    return described


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_what_the_function_refers_to_is_its_identity(
    change: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = identity(tmp_path / "a", None, monkeypatch)
    assert identity(tmp_path / "b", change, monkeypatch) != before


@pytest.mark.parametrize("change", [None, *NO_CHANGES], ids=str)
def test_nothing_else_is(change: tuple[str, str, str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(tmp_path / "a", None, monkeypatch)
    assert identity(tmp_path / "b", change, monkeypatch) == before


STUDY = """
from raysearch import Search
REGIONS = {regions}
LOW, HIGH = {bounds}
BATCH = {batch}
def space(trial):
    if trial.suggest_categorical("srem.regions", REGIONS):
        trial.suggest_int("srem.size", LOW, HIGH)
    return {{"train.batch": BATCH}}
study = Search(question="?", task="retrieval", space=space, trials={trials}, scheduler=None, judge_seeds=0)
"""


def search(folder: Path, trials: int, regions: list[int], bounds: tuple[int, int], batch: int = 16) -> Suggestions:
    """Run a search in which more and larger regions are better; return its suggestions."""
    file = folder / "my_study.py"
    file.write_text(STUDY.format(trials=trials, regions=regions, bounds=bounds, batch=batch))
    _, study = load_study(str(file))
    assert isinstance(study, Search)
    planned = search_plan.plan_search("my_study", study, "laptop", "data")
    source = Suggestions(planned, planned.groups[0], folder / "optuna.db", str(folder / "checkpoints"))
    while (job := source.next()) is not None:
        value = job.config["srem"]["regions"] + job.config["srem"]["size"] / 1000
        source.ended(job, {"cell": job.cell, "status": "finished", "map_validation": value, "epoch_seconds": 1.0})
    return source


def best(source: Suggestions) -> dict[str, Any]:
    found = best_config(source.configs, source._plan)
    assert found is not None
    return dict(found.variant.declared)


@pytest.mark.parametrize("older", [False, True])
def test_trials_outside_the_space_neither_count_nor_win(
    older: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if older:  # a version whose identity was the text of the function, which has not changed
        names = SearchSpace.identities
        monkeypatch.setattr(SearchSpace, "identities", lambda space: names(space)[1:])
    wide = search(tmp_path, 8, [0, 10, 50], (16, 64))
    assert best(wide)["srem.regions"] == 50
    monkeypatch.undo()
    narrow = search(tmp_path, 6, [0, 10], (16, 32))
    assert len(narrow.configs) == 6
    assert best(narrow)["srem.regions"] == 10
    assert all(config.variant.declared.get("srem.size", 16) <= 32 for config in narrow.configs)
    again = search(tmp_path, 8, [0, 10, 50], (16, 64))
    assert [config.variant.name for config in again.configs] == [config.variant.name for config in wide.configs]
    other_batch = search(tmp_path, 3, [0, 10, 50], (16, 64), batch=8)
    assert {config.variant.config.train.batch for config in other_batch.configs} == {8}


def test_a_search_of_an_older_version_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = SearchSpace.identities
    monkeypatch.setattr(SearchSpace, "identities", lambda space: names(space)[1:])
    before = search(tmp_path, 4, [0, 10, 50], (16, 64))
    monkeypatch.undo()
    after = search(tmp_path, 6, [0, 10, 50], (16, 64))
    assert after.optuna.name == before.optuna.name
    assert [c.variant.name for c in after.configs][:4] == [c.variant.name for c in before.configs]
    assert len(optuna.get_all_study_names(f"sqlite:///{tmp_path}/optuna.db")) == 1
