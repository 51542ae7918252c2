"""`--keep` while cells end, in real checkpoints: what a later end may need stays, and no refusal stops a study."""

from pathlib import Path

import pytest
import torch

from raysearch.core import UserError
from raysearch.data import shards
from raysearch.engine.drivers.checkpoint_reducer import CheckpointReducer
from raysearch.engine.options import Run
from raysearch.engine.trials.jobs import Job
from raysearch.inspection import kept_checkpoints
from raysearch.runs import StudyRecord, results
from raysearch.runs.checkpoints import Checkpoints
from raysearch.runs.retention import Keep

CELLS = [f"{seed}" * 20 for seed in range(5)]


class Study:
    """One variant of five seeds whose cells end one by one."""

    def __init__(self, folder: Path, keep: Keep) -> None:
        record = StudyRecord(study="s", metric="map", reference="a", variants=[], cells=[])
        self.run = Run(folder, None, shards.NO_DATA, record)
        self.storage = folder / "checkpoints"
        self.warnings: list[str] = []
        self.reducer = CheckpointReducer(self.run, str(self.storage), keep, {"a": CELLS}, self.warnings.append)

    def end(self, seed: int, value: float | None, variant: str = "a") -> set[str]:
        """End a cell as the engine does; return the states that are there then, by seed and name."""
        states = Checkpoints(str(self.storage), CELLS[seed])
        states.save({"step": 1, "w": torch.zeros(1000)}, best=True)
        states.save({"step": 2, "w": torch.zeros(1000)}, best=False)
        status = "failed" if value is None else "finished"
        row = {"cell": CELLS[seed], "seed": seed, "status": status, "map": value, "error": None, "seconds": 1.0}
        results.write_cell(self.run.cells, row)
        self.reducer.ended(Job(CELLS[seed], "", {}, seed, variant), row)
        return {f"{path.parent.name[0]} {path.stem}" for path in self.storage.rglob("*.pt")}


def test_a_cell_goes_when_it_cannot_be_the_median_any_more(tmp_path: Path) -> None:
    study = Study(tmp_path, Keep.BEST)
    assert study.end(0, 0.5) == {"0 newest"}
    assert study.end(1, 0.6) == {"0 newest", "1 newest"}
    assert study.end(2, 0.7) == {"0 newest", "1 newest", "2 newest"}
    # Of 0.5 to 0.8 and one more, the third is at 0.6 or 0.7; if the last one fails, the second of four is at 0.6.
    assert study.end(3, 0.8) == {"1 newest", "2 newest"}
    assert study.end(4, 0.9) == {"2 newest"}
    assert study.warnings == []


def test_a_failed_cell_keeps_its_states(tmp_path: Path) -> None:
    study = Study(tmp_path, Keep.NONE)
    assert study.end(0, None) == {"0 newest", "0 best"}
    assert study.end(1, 0.6) == {"0 newest", "0 best"}


def test_the_last_state_of_every_cell(tmp_path: Path) -> None:
    study = Study(tmp_path, Keep.LAST)
    for seed in range(5):
        states = study.end(seed, 0.1 * seed)
    assert states == {f"{seed} newest" for seed in range(5)}


def test_a_variant_of_a_search_keeps_its_last_states(tmp_path: Path) -> None:
    study = Study(tmp_path, Keep.BEST)
    for seed in range(5):
        states = study.end(seed, 0.1 * seed, variant="suggested")
    assert states == {f"{seed} newest" for seed in range(5)}


def test_a_store_that_refuses_stops_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def _refuse(*_: object, **__: object) -> None:
        raise UserError("cannot reach 's3://bucket': refused")

    monkeypatch.setattr(kept_checkpoints, "reduce_states", _refuse)
    study = Study(tmp_path, Keep.LAST)
    study.end(0, 0.5)
    study.end(1, 0.6)
    assert study.warnings == [
        "checkpoints could not be removed (cannot reach 's3://bucket': refused); `raysearch prune` removes them later"
    ]
