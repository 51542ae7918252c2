"""Runs of other users in one folder with the user's own: their cells and checkpoints are not taken over."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from raysearch import sweep
from raysearch.core import UserError, cli
from raysearch.data import class_splits, shards
from raysearch.engine.drivers import session
from raysearch.runs import StudyRecord, results
from raysearch.runs.checkpoints import FOLDER, Checkpoints
from raysearch.studies.design import ablation_plan, study_files

from ..study_json import read_study_json
from .users import User, needs_two_users

CELL = "c" * 20
TRUE = 0.25
FORGED = 0.999

STUDY = """
from raysearch import Ablation, factor
study = Ablation(
    question="Which?", task="retrieval", base={"data.side": 32, "srem.size": 4}, reference={"srem.regions": 50},
    factors=[factor("srem.regions", 100)], seeds=3,
)
"""
ADOPT_CELL = """
import sys
from pathlib import Path
from raysearch.runs import results
highest = 0
for number in range(400):
    run = Path(sys.argv[1]) / f"mine{number % 5}"
    results.adopt(run, [sys.argv[2]])
    for path in (run / "cells").glob("*.parquet"):
        highest = max(highest, results.read_cells(run / "cells", [sys.argv[2]])[sys.argv[2]]["map"])
        path.unlink()
print(highest)
"""
# Exchanges a link to the victim's own cell for the forged one and back, so that a look at the name may be outdated.
EXCHANGE = """
import os, sys
forged, own, name = sys.argv[1:]
while True:
    for target in (own, forged):
        os.symlink(target, name + ".new")
        os.replace(name + ".new", name)
"""
ADOPT_STATE = """
import json, sys
from pathlib import Path
from raysearch.core import UserError
from raysearch.runs.checkpoints import FOLDER, Checkpoints, decode_state
results = {}
for runs in sorted(Path(sys.argv[1]).iterdir()):
    mine = Checkpoints(str(runs / "mine" / FOLDER), sys.argv[2])
    try:
        adopted = mine.adopt(runs, lambda state: "value" in state["task"])
        results[runs.name] = adopted and decode_state(mine.read(), "cpu")["task"]["value"].item()
    except Exception as error:
        results[runs.name] = repr(error)
print(json.dumps(results))
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def write_cell(run: Path, value: float) -> Path:
    results.write_study(run, StudyRecord(study="s", variants=[], cells=[]))
    results.write_cell(run / "cells", {"cell": CELL, "seed": 0, "status": "finished", "map": value})
    return run / "cells" / f"{CELL}.parquet"


def write_state(run: Path, value: float) -> Path:
    state = {"task": {"value": torch.tensor(value)}, "history": "[]"}
    Checkpoints(str(run / FOLDER), CELL).save(state, best=False)
    return run / FOLDER / CELL / "newest.pt"


@needs_two_users
def test_cells_of_another_user_are_not_taken_over(victim: User, attacker: User, runs: Path) -> None:
    write_cell(runs / "theirs", FORGED)
    attacker.own(runs / "theirs")
    assert victim.python(ADOPT_CELL.replace("400", "1"), str(runs), CELL).stdout == "0\n"
    write_cell(runs / "early", TRUE)
    victim.own(runs / "early")
    assert victim.python(ADOPT_CELL.replace("400", "1"), str(runs), CELL).stdout == f"{TRUE}\n"


@needs_two_users
def test_a_file_that_is_exchanged_meanwhile_is_judged_as_it_is_read(victim: User, attacker: User, runs: Path) -> None:
    run = runs / "theirs"
    own = write_cell(run, TRUE).rename(run / "cells" / "own")
    forged = write_cell(run, FORGED).rename(run / "cells" / "forged")
    attacker.own(run)
    os.chown(own, victim.uid, victim.uid)  # a hard link to a cell of the victim does the same
    name = str(run / "cells" / f"{CELL}.parquet")
    with attacker.start(sys.executable, "-c", EXCHANGE, forged.name, own.name, name):
        ended = victim.python(ADOPT_CELL, str(runs), CELL)
    assert ended.stdout == f"{TRUE}\n", ended.stderr


def foreign_file(path: Path, victim: User) -> None:
    """In a folder of the victim that others may write to."""


def link_out(path: Path, victim: User) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def pipe(path: Path, victim: User) -> None:
    path.unlink()
    os.mkfifo(path, 0o666)


def other_content(path: Path, victim: User) -> None:
    torch.save([1, 2], path)
    os.chown(path, victim.uid, victim.uid)


def closed_folder(path: Path, victim: User) -> None:
    path.parent.chmod(0)


PLANTS: tuple[Callable[[Path, User], None], ...] = (foreign_file, link_out, pipe, other_content, closed_folder)


@needs_two_users
def test_a_checkpoint_beside_neither_counts_nor_stops_a_sweep(victim: User, attacker: User, runs: Path) -> None:
    for plant in PLANTS:
        run = runs / plant.__name__ / "a"
        path = write_state(run, FORGED)
        attacker.own(run)
        run.parent.chmod(0o777)
        os.chown(path.parent, victim.uid, victim.uid)
        plant(path, victim)

    def _adopt() -> dict[str, object]:
        ended = victim.python(ADOPT_STATE, str(runs), CELL)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    assert _adopt() == {plant.__name__: False for plant in PLANTS}
    for plant in PLANTS:
        write_state(runs / plant.__name__ / "b", TRUE)
        victim.own(runs / plant.__name__ / "b")
    assert _adopt() == {plant.__name__: TRUE for plant in PLANTS}


def run_sweep(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.run(sweep.app, [str(word) for word in words])
    return int(ended.value.code or 0)


def test_a_run_that_was_unpacked_beside_is_named_everywhere(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It belongs to the user. Forged numbers in it gave a verdict, and nothing but a count in the report showed it."""
    (tmp_path / "study.py").write_text(STUDY)
    name, study = study_files.load_study(str(tmp_path / "study.py"))
    identity = class_splits.data_identity(shards.read_manifest(tiny_data))
    planned = ablation_plan.plan_ablation(name, study, "laptop", identity, {})
    forged = tmp_path / "runs" / "from_internet"
    results.write_study(forged, StudyRecord(study="s", variants=[], cells=[]))
    for cell in planned.cells:
        value = FORGED if cell.variant != planned.reference else TRUE + cell.seed / 1000
        row = {"cell": cell.hash, "seed": cell.seed, "status": "finished", "map": value, "config": "{}", "seconds": 1.0}
        results.write_cell(forged / "cells", row | {"metric_ids": "{}", "code_version": 1, "epochs": 1})

    def _train(*arguments: object) -> None:
        raise UserError("cells would be trained")

    monkeypatch.setattr(session, "open_session", _train)
    monkeypatch.setenv("COLUMNS", "400")
    words = (tmp_path / "study.py", "--profile", "laptop", "--data", tiny_data, "--out")
    run = forged.parent / "mine"
    assert run_sweep(*words, run) == 0
    assert f"6 cells were taken over from {forged}, which had finished them" in capsys.readouterr().out
    assert read_study_json(run)["adopted_from"] == {str(forged): 6}
    assert f"6 reused from {forged} (6)" in (run / "report.html").read_text()
    assert run_sweep(*words, forged.parent / "other", "--no-adopt") == 2
    assert "cells would be trained" in capsys.readouterr().err
