"""What a pre-training left is found in this run or in one beside it, and only when it came to its end."""

from pathlib import Path
from typing import Any

import pytest
import torch

from raysearch.engine.drivers.cell_store import has_backbone
from raysearch.engine.trials.mailbox import Begin
from raysearch.engine.trials.running_cell import read_start
from raysearch.runs import checkpoints
from raysearch.runs.checkpoints import FOLDER, Checkpoints
from raysearch.tasks.base import Worker

CELL = "c" * 20
WORKER = Worker(None, Path())  # type: ignore[arg-type]


def state(value: float | None) -> dict[str, Any]:
    """Of a pre-training that ended with this trunk, or, with None, of one half-way."""
    return {"task": {"done": 1, "trunk": None if value is None else {"weight": torch.tensor([value])}}, "seconds": 1.0}


def of_run(runs: Path, name: str) -> Checkpoints:
    return Checkpoints(str(runs / name / FOLDER), CELL)


def trunk(runs: Path, name: str) -> float:
    command = Begin("own", {}, seed=0, storage=str(runs / name / FOLDER), start=CELL)
    return read_start(command, WORKER)["weight"].item()


def test_a_state_is_brought_from_a_run_beside(tmp_path: Path) -> None:
    assert not of_run(tmp_path, "b").adopt(tmp_path, has_backbone)
    of_run(tmp_path, "a").save(state(3.0), best=False)
    assert of_run(tmp_path, "b").adopt(tmp_path, has_backbone)
    assert trunk(tmp_path, "b") == 3.0
    (tmp_path / "a" / FOLDER / CELL / checkpoints.NEWEST).unlink()
    assert of_run(tmp_path, "b").adopt(tmp_path, has_backbone), "it is here now"
    assert trunk(tmp_path, "b") == 3.0


def test_one_that_was_stopped_half_way_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    of_run(tmp_path, "b").save(state(None), best=False)
    of_run(tmp_path, "a").save(state(None), best=False)
    assert not of_run(tmp_path, "b").adopt(tmp_path, has_backbone)
    with pytest.raises(RuntimeError, match=f"its pre-training, cell {CELL}, did not come to its end"):
        trunk(tmp_path, "b")
    of_run(tmp_path, "c").save(state(5.0), best=False)
    assert of_run(tmp_path, "b").adopt(tmp_path, has_backbone)
    assert trunk(tmp_path, "b") == 5.0


def test_a_damaged_state_is_none(tmp_path: Path) -> None:
    of_run(tmp_path, "a").save(state(3.0), best=False)
    path = tmp_path / "a" / FOLDER / CELL / checkpoints.NEWEST
    path.write_bytes(path.read_bytes()[:-40])
    assert not of_run(tmp_path, "b").adopt(tmp_path, has_backbone)
    with pytest.raises(RuntimeError, match=CELL):
        trunk(tmp_path, "b")
