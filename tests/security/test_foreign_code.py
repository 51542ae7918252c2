"""A run directory from elsewhere names code, and has it beside it: no command that reads the directory imports it."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from ray import tune

from dashboards.live import server
from raysearch import report, sweep, train
from raysearch.core import user_code
from raysearch.data import shards
from raysearch.engine.drivers.suggestions import Suggestions
from raysearch.runs import results
from raysearch.studies.configs import TASKS, overrides
from raysearch.studies.design import Search, search_plan

from ..commands import run_app
from ..dashboards.written import write
from ..study_json import read_study_json, write_study_json

SIGN = "executed"
EVIL = """
from pathlib import Path
Path({sign!r}).touch()
def f(*arguments, **named): ...
class T: ...
"""
STUDY = """
from raysearch import Ablation, factor
study = Ablation("Which rate?", "retrieval", {{}}, [factor("train.lr", 0.001, 0.01)], metric="map", seeds=2)
"""


def configs_naming(reference: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return kind of code -> a task, and settings by dotted path that name the reference."""
    return {
        "task": (reference, {}),
        "loss": ("retrieval", {"hash.method": reference}),
        "backbone": ("retrieval", {"model.backbone": reference}),
        "metrics": ("retrieval", {"evaluation.metrics": [reference]}),
        "head": ("fewshot", {"model.method": reference}),
        "fewshot backbone": ("fewshot", {"model.backbone": reference}),
    }


CASES = [(kind, "evil.py:f") for kind in configs_naming("")]
CASES += [("task", "evil:f"), ("task", "EVIL/evil.py:T"), ("loss", "EVIL/evil.py:f"), ("head", "runs/a/evil.py:T")]
SEARCHED = [("loss", "evil.py:f"), ("backbone", "EVIL/evil.py:f"), ("metrics", "evil:f")]


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of the runs: `evil.py` is there, in each run, in the current directory and on Python's path."""
    here = tmp_path / "here"
    for folder in (here, here / "runs", here / "runs/a", here / "runs/b"):
        folder.mkdir()
        (folder / "evil.py").write_text(EVIL.format(sign=str(tmp_path / SIGN)))
    (here / "my_study.py").write_text(STUDY.format())
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))  # as `python -m` has it
    tasks = set(TASKS)
    yield here / "runs"
    assert not (tmp_path / SIGN).exists()
    assert "evil" not in sys.modules
    assert not [code for code in user_code.all_registered().codes if "evil" in code.reference]
    assert set(TASKS) == tasks


@pytest.fixture
def reference(spelling: str, evil: Path) -> str:
    return spelling.replace("EVIL", str(evil / "a"))


def plant(run: Path, kind: str, reference: str, data: Path | None = None) -> Path:
    """Write a run whose record and cells name the reference wherever a name of code can be."""
    task, settings = configs_naming(reference)[kind]
    base: dict[str, Any] = {"task": task}
    if task in TASKS:
        base = json.loads(overrides.resolve(task, {}).model_dump_json())
    config = json.loads(json.dumps(base))
    for path, value in settings.items():
        *sections, name = path.split(".")
        at = config
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    cells = {"metric_ids": json.dumps({"map": f"map@{reference}"}), "history": json.dumps([{"iteration": 1}])}
    values = {"reference": {0: 0.5, 1: 0.6}, reference: {0: 0.7, 1: 0.7}}
    write(run, values, dict.fromkeys(values, config), cells)
    record = read_study_json(run) | {"task": task, "objectives": [reference], "factors": ["hash.method", reference]}
    record["code_version"] = TASKS[task].version if task in TASKS else 1
    record |= {"code": {"evil.py": "0" * 16}, "metric_id": f"map@{reference}"}
    for variant in record["variants"]:
        variant |= {"settings": settings, "declared": settings}
    if data is not None:
        record["data"] = {"path": str(data), "content_hash": shards.read_manifest(data).content_hash}
    write_study_json(run, record)
    return run


def ends_in_order(code: object, capsys: pytest.CaptureFixture[str]) -> bool:
    """Return whether a command ended well; otherwise its error must be one line."""
    error = capsys.readouterr().err
    assert "Traceback" not in error
    if code not in (0, None):
        assert code == 2
        assert re.fullmatch(r"error: [^\n]+\n", error), error
    return code in (0, None)


@pytest.mark.parametrize(("kind", "spelling"), CASES)
def test_a_report_imports_nothing(
    kind: str, reference: str, evil: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = plant(evil / "a", kind, reference, tiny_data)
    b = plant(evil / "b", kind, reference, tiny_data)
    assert ends_in_order(run_app(report.app, a), capsys)
    assert ends_in_order(run_app(report.app, a, b, "--out", evil / "compared"), capsys)
    live = server.LiveServer(a)
    try:
        state = json.dumps(live.follower.state(), default=str)
    finally:
        live.server_close()
    assert "evil" in state


@pytest.mark.parametrize(("kind", "spelling"), CASES)
def test_a_gallery_imports_nothing(
    kind: str, reference: str, evil: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = plant(evil / "a", kind, reference, tiny_data)
    assert not ends_in_order(run_app(report.app, a, "--gallery"), capsys)


@pytest.mark.parametrize(("kind", "spelling"), CASES)
def test_a_run_to_train_from_imports_nothing(
    kind: str, reference: str, evil: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = plant(evil / "a", kind, reference, tiny_data)
    task = configs_naming(reference)[kind][0]
    known = task if task in TASKS else "retrieval"
    assert not ends_in_order(run_app(train.app, known, "--from", a, "--variant", "reference"), capsys)


@pytest.mark.parametrize(("kind", "spelling"), CASES)
def test_a_plan_beside_it_imports_nothing(
    kind: str, reference: str, evil: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(evil / "a", kind, reference, tiny_data)
    words = ("my_study.py", "--dry-run", "--data", tiny_data, "--out")
    assert ends_in_order(run_app(sweep.app, *words, evil / "b"), capsys)
    ends_in_order(run_app(sweep.app, *words, evil / "a"), capsys)  # into it: another study, or another task


@pytest.mark.parametrize(("kind", "spelling"), CASES)
def test_cells_are_adopted_as_data(kind: str, reference: str, evil: Path) -> None:
    a = plant(evil / "a", kind, reference)
    (evil / "own").mkdir()
    hashes = [cell["cell"] for cell in read_study_json(a)["cells"]]
    assert results.adopt(evil / "own", hashes) == {str(a): 4}
    (row, *_) = results.read_cells(evil / "own/cells", hashes).values()
    assert "evil" in row["config"] + row["metric_ids"]


@pytest.mark.parametrize(("kind", "spelling"), SEARCHED)
def test_a_search_that_continues_imports_nothing(kind: str, reference: str, evil: Path) -> None:
    """Its trials and its record name settings of configs that ran: those of the space, or nothing."""
    space = {"train.lr": tune.loguniform(1e-4, 1e-1)}
    planned = search_plan.plan_search("s", Search("Which?", "retrieval", space=space, trials=3), "laptop", "data")
    (group,) = planned.groups

    def _open() -> Suggestions:
        return Suggestions(planned, group, evil / "a/optuna.db", str(evil / "a/checkpoints"))

    first = _open()
    for _ in range(2):
        first.next()
    settings = configs_naming(reference)[kind][1]
    storage = f"sqlite:///{evil}/a/optuna.db"
    for trial in optuna.load_study(study_name=first.optuna.name, storage=storage).trials:
        optuna.Trial(first.optuna.study, trial._trial_id).set_user_attr("settings", settings)
    assert _open().configs == []
    (evil / "a/optuna.db").unlink()
    plant(evil / "a", kind, reference)
    record = read_study_json(evil / "a")
    for cell in record["cells"]:
        cell["stage"] = "search"
    write_study_json(evil / "a", record)
    assert _open().configs == []


def test_the_evil_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "evil.py"
    path.write_text(EVIL.format(sign=str(tmp_path / SIGN)))
    user_code.load(user_code.read_code(f"{path}:f"))
    assert (tmp_path / SIGN).exists()
