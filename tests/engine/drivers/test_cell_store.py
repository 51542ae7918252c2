"""Cells and pre-trainings that another kind of device computed are not taken for a run's own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from raysearch.engine.drivers.cell_store import CellStore
from raysearch.engine.options import Options, Run, RunContext
from raysearch.runs import StudyRecord, results
from raysearch.runs.checkpoints import FOLDER, Checkpoints, decode_state

CELL = "c" * 20
EARLIER_CPU = {"gpu_seconds": 0.0}
EARLIER_GPU = {"gpu_seconds": 9.0}


def make_run(directory: Path, device: str = "cpu") -> Run:
    record = StudyRecord(study="s", variants=[], cells=[], device=device)
    return Run(directory, None, SimpleNamespace(content_hash="d"), record)  # type: ignore[arg-type]


def make_store(run: Run) -> CellStore:
    return CellStore(run, str(run.directory / FOLDER))


def write_neighbor(directory: Path, row: dict[str, Any], value: float | None = None) -> None:
    """Write a run with a finished cell, and with the state of a pre-training if `value` is given."""
    results.write_study(directory, StudyRecord(study="s", variants=[], cells=[]))
    finished = {"cell": CELL, "seed": 0, "status": "finished", "error": None, "map": value}
    results.write_cell(directory / "cells", finished | row)
    if value is not None:
        state = {"task": {"trunk": {"weight": torch.tensor([value])}}}
        Checkpoints(str(directory / FOLDER), CELL).save(state, best=False)


@pytest.mark.parametrize(("row", "is_taken"), [(EARLIER_CPU, True), (EARLIER_GPU, False), ({"device": "cpu"}, True)])
def test_a_cell_beside_the_run_is_taken_over_from_the_same_kind_of_device(
    row: dict[str, Any], is_taken: bool, tmp_path: Path
) -> None:
    write_neighbor(tmp_path / "theirs", row)
    assert (make_store(make_run(tmp_path / "mine")).find(CELL, ("finished",)) is not None) == is_taken


@pytest.mark.parametrize(("row", "is_kept"), [(EARLIER_CPU, True), (EARLIER_GPU, False)])
def test_a_cell_of_the_run_itself_runs_again_if_a_gpu_computed_it(
    row: dict[str, Any], is_kept: bool, tmp_path: Path
) -> None:
    write_neighbor(tmp_path / "mine", row)
    run = make_run(tmp_path / "mine")
    assert (make_store(run).find(CELL, ("finished",)) is not None) == is_kept
    record = results.read_cells(run.cells, [CELL])[CELL]
    context = RunContext(run, Options(), None, None)  # type: ignore[arg-type]
    assert context.accepts(record) == is_kept


def test_a_gpu_takes_its_own_cells(tmp_path: Path) -> None:
    write_neighbor(tmp_path / "theirs", {"device": "NVIDIA L4", "gpu_seconds": 9.0})
    assert make_store(make_run(tmp_path / "mine", "cuda")).find(CELL, ("finished",)) is not None


def test_the_state_of_a_pre_training_comes_from_the_same_kind_of_device(tmp_path: Path) -> None:
    write_neighbor(tmp_path / "a", EARLIER_GPU, 1.0)
    run = make_run(tmp_path / "mine")
    assert make_store(run).find_pre_training(CELL) is None
    write_neighbor(tmp_path / "b", EARLIER_CPU, 2.0)
    assert make_store(run).find_pre_training(CELL) is not None
    data = Checkpoints(str(run.directory / FOLDER), CELL).read()
    assert data is not None
    assert decode_state(data, torch.device("cpu"))["task"]["trunk"]["weight"].item() == 2.0
