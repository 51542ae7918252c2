"""A search whose `optuna.db` is of no use goes on from its cells, as it would have gone on with the file."""

import contextlib
import json
import math
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from ray import tune

from raysearch.core import UserError
from raysearch.engine.drivers import optuna_storage
from raysearch.engine.drivers.search_record import SearchRecord
from raysearch.engine.drivers.suggestions import Suggestions
from raysearch.engine.options import Run
from raysearch.engine.trials.jobs import Job
from raysearch.runs import describe, results
from raysearch.studies.design import Search, search_plan

from ...security.users import VICTIM, User, needs_two_users

NUMBERS = {"train.lr": tune.loguniform(1e-4, 1e-1), "esrl.positive": tune.uniform(0.01, 1)}
STEPS = {"train.lr": tune.choice([1e-3, 1e-2, 1e-1]), "esrl.positive": tune.quniform(0.1, 0.5, 0.1)}


def plan(trials: int, sampler: str = "tpe", space: Any = None, **changed: Any) -> search_plan.SearchPlan:
    space = space or (STEPS if sampler == "grid" else NUMBERS)
    search = Search(question="Which?", task="retrieval", space=space, trials=trials, sampler=sampler, **changed)
    return search_plan.plan_search("study", search, "laptop", "data")


def record(job: Job) -> dict[str, Any]:
    """The end of a cell: most finish, some are stopped early, some fail."""
    draw = int(job.cell[:6], 16) % 7
    status = {0: "failed", 1: "stopped"}.get(draw, "finished")
    value = -abs(math.log10(job.config["train"]["lr"]) + 2) - job.config["esrl"]["positive"]
    history = [{"iteration": step, "map_validation": value - 1 / step} for step in (1, 2, 3)]
    metric = {} if status == "failed" else {"map_validation": value}
    return {
        "cell": job.cell,
        "seed": job.seed,
        "status": status,
        "error": "planted" if status == "failed" else None,
        "config": json.dumps(job.config),
        "seconds": 1.0,
        "history": json.dumps(history),
        **metric,
    }


def search(
    folder: Path, planned: search_plan.SearchPlan, write_study: bool = True, report: Any = lambda text: None
) -> list[Job]:
    """Run a search to its end as a driver does, one cell at a time; return the cells that had not ended before."""
    group = planned.groups[0]
    source = Suggestions(planned, group, folder / "optuna.db", str(folder / "checkpoints"), report=report)
    ran = []
    while (job := source.next()) is not None:
        ended = results.read_cells(folder / "cells", [job.cell]).get(job.cell)
        if ended is None:
            ran.append(job)
            ended = record(job)
            for step in json.loads(ended["history"])[: 2 if ended["status"] == "finished" else 3]:
                source.stepped(job, step, 3)
            results.write_cell(folder / "cells", ended)
        source.ended(job, ended)
    if write_study:
        run = Run(folder, None, None, describe.describe_search(planned, {}))  # type: ignore[arg-type]
        kept = SearchRecord(planned, run)
        kept.groups[group.label] = source
        kept.write()
    return ran


def trials(folder: Path) -> list[tuple[Any, ...]]:
    """What Optuna knows, without its clock."""
    storage = f"sqlite:///{folder}/optuna.db"
    study = optuna.load_study(study_name=optuna.get_all_study_names(storage)[-1], storage=storage)
    return [(t.state.name, t.params, t.values, t.intermediate_values, t.user_attrs) for t in study.trials]


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(5000))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwritten(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:40000] = bytes(36000 - 96)
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


def older_schema(path: Path) -> None:
    change(path, "update alembic_version set version_num = 'v1.3.0.a'", "update version_info set schema_version = 11")


def newer_schema(path: Path) -> None:
    change(path, "update alembic_version set version_num = 'v9.9.9.a'")


def unknown_state(path: Path) -> None:
    change(path, "update trials set state = 'DREAMING' where number = 2")


def broken_json(path: Path) -> None:
    change(path, "update trial_user_attributes set value_json = '{'")


def no_table(path: Path) -> None:
    change(path, "drop table trial_params")


def gone(path: Path) -> None:
    path.unlink()


def without_trials(path: Path) -> None:
    tables = ("trial_values", "trial_params", "trial_user_attributes", "trial_intermediate_values", "trials")
    change(path, *(f"delete from {table}" for table in tables))


DAMAGES = {
    garbage: "damaged",
    cut: "damaged",
    overwritten: "damaged",
    empty: "empty",
    a_folder: "damaged",
    older_schema: "other-version",
    newer_schema: "other-version",
    unknown_state: "damaged",
    broken_json: "damaged",
    no_table: None,
    gone: None,
    without_trials: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_of_no_use_is_made_anew_from_the_cells(damage: Callable[[Path], None], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    search(whole, plan(6))
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    damage(other / "optuna.db")
    said: list[str] = []
    assert search(other, plan(6), report=said.append) == [], "a cell that had ended was run again"
    assert trials(other) == trials(whole)
    word = DAMAGES[damage]
    assert any("6 trials were made anew from the cells" in line for line in said), said
    aside = [path.name for path in other.glob("optuna.*.db")]
    assert aside == ([f"optuna.{word}.db"] if word else [])
    assert (word is None) == (len(said) == 1), said
    assert all("\n" not in line for line in said)
    said.clear()
    again = search(other, plan(9), report=said.append)
    assert [job.config for job in again] == [job.config for job in search(whole, plan(9))], "another continuation"
    assert not said
    assert not list(other.glob(".*.lock"))


@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "random", "grid"])
def test_the_continuation_of_a_stateless_sampler_is_that_of_the_undamaged_file(sampler: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    search(whole, plan(7, sampler))
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    cut(other / "optuna.db")
    expected = search(whole, plan(11, sampler))
    assert [job.config for job in search(other, plan(11, sampler))] == [job.config for job in expected]
    assert len(expected) == 4


def test_cells_that_the_record_lacks_are_trials_too(tmp_path: Path) -> None:
    """The driver was killed before it wrote study.json, and its file of trials was cut."""
    ran = search(tmp_path, plan(6), write_study=False)
    cut(tmp_path / "optuna.db")
    assert search(tmp_path, plan(6)) == []
    found = [params for _, params, *_ in trials(tmp_path)]
    assert [p["train.lr"] for p in found] == [job.config["train"]["lr"] for job in ran]


def test_a_cell_from_elsewhere_changes_no_value(tmp_path: Path) -> None:
    search(tmp_path, plan(4))
    study = json.loads((tmp_path / "study.json").read_text())
    study["variants"][1]["declared"]["train.lr"] = 0.05
    (tmp_path / "study.json").write_text(json.dumps(study))
    gone(tmp_path / "optuna.db")
    search(tmp_path, plan(4))
    rates = {params["train.lr"] for _, params, *_ in trials(tmp_path)}
    assert 0.05 not in rates


def test_a_file_that_stays_locked_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_storage, "LOCK_SECONDS", 0.2)
    search(tmp_path, plan(3))
    before = trials(tmp_path)
    said: list[str] = []
    with closing(sqlite3.connect(tmp_path / "optuna.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        search(tmp_path, plan(3), report=said.append)
    assert said[0].startswith("optuna.db was put aside as optuna.locked.db, locked: ")
    assert trials(tmp_path) == before


def test_a_lock_of_a_moment_is_waited_for(tmp_path: Path) -> None:
    search(tmp_path, plan(3))
    script = "import sqlite3, sys, time\nd = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    script += "d.execute('BEGIN EXCLUSIVE')\nprint(flush=True)\ntime.sleep(1)\n"
    holder = subprocess.Popen([sys.executable, "-c", script, tmp_path / "optuna.db"], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    said: list[str] = []
    search(tmp_path, plan(3), report=said.append)
    assert holder.wait(10) == 0
    assert not said


_OPEN = """
import sys
from pathlib import Path
from raysearch.engine.drivers import optuna_storage
with optuna_storage.locked(Path(sys.argv[1])):
    _, aside = optuna_storage.open_storage(Path(sys.argv[1]))
print(aside.path.name, aside.reason)
"""


@needs_two_users
def test_a_read_only_file_is_put_aside() -> None:
    with tempfile.TemporaryDirectory(prefix="raysearch-read-only-") as name:  # pytest's own are closed to other users
        folder = Path(name)
        folder.chmod(0o777)
        optuna.create_study(storage=f"sqlite:///{folder}/optuna.db", study_name="s")
        (folder / "optuna.db").chmod(0o444)
        done = User(VICTIM, folder).python(_OPEN, str(folder / "optuna.db"))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("optuna.read-only.db read only: "), done.stdout


def test_a_journal_of_the_old_file_is_not_applied_to_the_new_one(tmp_path: Path) -> None:
    search(tmp_path, plan(3))
    before = trials(tmp_path)
    garbage(tmp_path / "optuna.db")
    (tmp_path / "optuna.db-journal").write_bytes(bytes.fromhex("d9d505f920a163d7") + bytes(5000))
    (tmp_path / "optuna.db-wal").write_bytes(os.urandom(300))
    search(tmp_path, plan(3))
    assert trials(tmp_path) == before


@pytest.mark.parametrize("name", ["a b", "what?", "half#1", "50%25", "{x}", "ünï", "a?mode=ro", "a&b;c'd\"e"])
def test_a_path_is_not_a_part_of_a_url(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    search(folder, plan(3))
    assert {path.name for path in folder.iterdir()} == {"optuna.db", "cells", "study.json"}
    assert list(tmp_path.iterdir()) == [folder]
    with closing(sqlite3.connect(folder / "optuna.db")) as database:
        assert database.execute("select count(*) from trials").fetchone() == (3,)
    assert search(folder, plan(3)) == []


def test_a_file_that_fails_in_the_midst_is_one_line(tmp_path: Path) -> None:
    planned = plan(3)
    source = Suggestions(planned, planned.groups[0], tmp_path / "optuna.db", str(tmp_path))
    job = source.next()
    assert job is not None
    change(tmp_path / "optuna.db", "drop table trials")
    with pytest.raises(UserError, match=r"optuna.db' cannot be used \(no such table: trials.*rebuilds it"):
        source.ended(job, record(job))


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._path,))


OPTIMIZERS = ("cma:optimizer:0", "cmawm:optimizer:0", "sepcma:optimizer:0", "pickle")


def plant(database: Path, evidence: Path) -> None:
    """Put a pickle into every attribute of every trial and study, and into every text that takes one."""
    payload = pickle.dumps(Planted(evidence), protocol=0).hex()
    with closing(sqlite3.connect(database)) as connection, connection:
        for (trial,) in connection.execute("select trial_id from trials").fetchall():
            keys = [key for (key,) in connection.execute("select distinct key from trial_system_attributes")]
            for table in ("trial_system_attributes", "trial_user_attributes"):
                for key in {*OPTIMIZERS, *keys}:
                    connection.execute(f"delete from {table} where trial_id = ? and key = ?", (trial, key))
                    connection.execute(
                        f"insert into {table} (trial_id, key, value_json) values (?, ?, ?)",
                        (trial, key, json.dumps(payload)),
                    )
        for (study,) in connection.execute("select study_id from studies").fetchall():
            for table in ("study_system_attributes", "study_user_attributes"):
                for key in OPTIMIZERS:
                    values = (study, key, json.dumps(payload))
                    connection.execute(f"insert into {table} (study_id, key, value_json) values (?, ?, ?)", values)


CMA = [{}, {"with_margin": True}, {"use_separable_cma": True}]


@pytest.mark.parametrize("options", CMA, ids=str)
def test_the_planted_pickle_runs_in_a_sampler_that_unpickles(options: dict[str, Any], tmp_path: Path) -> None:
    """The attack is real: Optuna's own sampler executes it."""
    evidence = tmp_path / "evidence"
    storage = f"sqlite:///{tmp_path}/optuna.db"

    def continue_study() -> None:
        sampler = optuna.samplers.CmaEsSampler(seed=0, **options)
        study = optuna.create_study(storage=storage, study_name="s", sampler=sampler, load_if_exists=True)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1), n_trials=3)

    continue_study()
    plant(tmp_path / "optuna.db", evidence)
    continue_study()
    assert evidence.exists()


@pytest.mark.parametrize(
    ("sampler", "options"),
    [*((name, {}) for name in ("tpe", "gp", "nsga2", "nsga3", "qmc", "random", "grid")), *(("cmaes", o) for o in CMA)],
    ids=str,
)
def test_nothing_of_the_file_is_unpickled(sampler: str, options: dict[str, Any], tmp_path: Path) -> None:
    search(tmp_path, plan(5, sampler, sampler_options=options))
    evidence = tmp_path / "evidence"
    plant(tmp_path / "optuna.db", evidence)
    with contextlib.suppress(TypeError):  # the genetic samplers compare a number with the planted text
        search(tmp_path, plan(8, sampler, sampler_options=options))
    assert not evidence.exists()
