"""Networks from checkpoints equal the evaluated ones bit for bit, and each missing part is a one-line error."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from raysearch.core import UserError
from raysearch.data import synthetic
from raysearch.inspection.finished_run import open_run
from raysearch.inspection.retrieval import Codes, inspect_cells
from raysearch.runs import results
from raysearch.runs.checkpoints import FOLDER, Checkpoints, decode_state
from raysearch.tasks.retrieval import task as retrieval_task

from ..study_json import read_study_json, write_study_json
from .conftest import EVERY, Trained


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> Path:
    return shutil.copytree(trained.directory, tmp_path / "runs" / "copy")


@pytest.mark.parametrize("variant", EVERY)
def test_a_loaded_network_gives_the_evaluations_codes(trained: Trained, variant: str):
    run = open_run(trained.directory)
    cell = run.choose_cell(variant)
    task = run.task(cell)
    encode, database = task.judged()
    expected_queries, expected_database = trained.codes[variant]
    assert torch.equal(encode(task.worker.feed.test), expected_queries)
    assert torch.equal(database, expected_database)
    assert Codes.of_task(task).mean == cell.value


def test_nothing_is_trained_and_no_starting_state_is_computed(trained: Trained, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise AssertionError

    run = open_run(trained.directory)
    for name in ("advance", "_epoch", "_start_from_features"):
        monkeypatch.setattr(retrieval_task.RetrievalTask, name, fail)
    run.task(run.choose_cell("reference"))


def test_the_best_iteration_is_not_the_last_one(trained: Trained):
    """Without a difference the other tests would not cover the choice between them."""
    run = open_run(trained.directory)
    differs = []
    for variant in ("reference", "srem.regions=0", "hash.method=dpsh", "hash.method=exchnet"):
        state = decode_state(
            Checkpoints(str(trained.directory / FOLDER), run.choose_cell(variant).cell).read() or b"", run.device
        )
        best = state["task"]["best"]["network"]
        differs.append(any(not torch.equal(best[name], tensor) for name, tensor in state["task"]["network"].items()))
    assert any(differs)


def test_missing_weights_matter_only_to_an_untrained_backbone(trained: Trained, copy: Path, monkeypatch):
    record = read_study_json(copy)
    for variant in record["variants"]:
        variant["config"]["model"]["weights"] = "/gone/trunk.pth"
    write_study_json(copy, record)
    run = open_run(copy)
    cells = [run.choose_cell("reference"), run.choose_cell("hash.method=exchnet")]
    assert inspect_cells(run, cells, 1)[1] == [cell.value for cell in cells]
    with pytest.raises(UserError, match=r"/gone/trunk\.pth"):
        run.task(run.choose_cell("hash.method=itq"))


def test_a_missing_checkpoint_is_a_one_line_error(copy: Path):
    cell = open_run(copy).choose_cell("reference").cell
    shutil.rmtree(copy / FOLDER / cell)
    with pytest.raises(UserError, match=f"no final checkpoint of cell {cell} .*--storage") as raised:
        open_run(copy).choose_cell("reference")
    assert "\n" not in str(raised.value)
    assert open_run(copy).choose_cell("srem.regions=0").value


def test_a_checkpoint_from_the_middle_is_refused(copy: Path):
    cell = open_run(copy).choose_cell("reference").cell
    checkpoints = Checkpoints(str(copy / FOLDER), cell)
    state = decode_state(checkpoints.read() or b"", torch.device("cpu"))
    checkpoints.save(state | {"history": json.dumps(json.loads(state["history"])[:-1])}, best=True)
    with pytest.raises(UserError, match="no final checkpoint"):
        open_run(copy).choose_cell("reference")


def test_a_checkpoint_is_found_in_a_sibling_run_and_in_a_storage(copy: Path):
    cell = open_run(copy).choose_cell("reference")
    sibling = copy.parent / "first"
    sibling.mkdir()
    shutil.move(copy / FOLDER, sibling / FOLDER)
    assert open_run(copy).choose_cell("reference") == cell
    shutil.move(sibling / FOLDER, copy.parent.parent / "elsewhere")
    with pytest.raises(UserError, match="no final checkpoint"):
        open_run(copy).choose_cell("reference")
    run = open_run(copy, storage=str(copy.parent.parent / "elsewhere"))
    assert run.task(run.choose_cell("reference"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_sibling_counts_if_it_is_of_this_user_or_of_the_run_s(copy: Path):
    cell = open_run(copy).choose_cell("reference")
    sibling = copy.parent / "first"
    sibling.mkdir()
    shutil.move(copy / FOLDER, sibling / FOLDER)
    damaged = copy.parent / "a" / FOLDER / cell.cell
    damaged.mkdir(parents=True)
    (damaged / "newest.pt").symlink_to("/etc/passwd")  # as anybody can leave it there
    assert open_run(copy).choose_cell("reference") == cell
    for path in (sibling / FOLDER / cell.cell).iterdir():
        os.chown(path, 65534, 65534)
    with pytest.raises(UserError, match="no final checkpoint"):
        open_run(copy).choose_cell("reference")
    os.chown(copy / "study.json", 65534, 65534)  # a colleague's run, and the cells that it took over
    assert open_run(copy).choose_cell("reference") == cell


def test_another_code_version_is_a_one_line_error(copy: Path):
    for path in (copy / "cells").glob("*.parquet"):
        record = results.read_cells(copy / "cells", [path.stem])[path.stem]
        results.write_cell(copy / "cells", record | {"code_version": 1})
    with pytest.raises(UserError, match=r"trained by version 1 of the task's code, and this is version \d+"):
        open_run(copy).choose_cell("reference")


def test_the_data_may_move_but_must_be_the_same(trained: Trained, copy: Path, tmp_path: Path):
    moved = shutil.copytree(trained.data, tmp_path / "moved")
    record = read_study_json(copy)
    record["data"]["path"] = str(tmp_path / "gone")
    write_study_json(copy, record)
    with pytest.raises(UserError, match=r"no longer at .*gone; pass its new place with --data"):
        open_run(copy)
    assert open_run(copy, str(moved)).manifest.content_hash == record["data"]["content_hash"]
    other = synthetic.ensure_shards(
        synthetic.SyntheticSpec(classes=2, train_per_class=2, test_per_class=1, side=32), tmp_path / "o"
    )
    with pytest.raises(UserError, match="holds other data than the run was made from"):
        open_run(copy, str(other))


def test_ray_is_not_imported():
    code = "import sys, dashboards.gallery.build, raysearch.inspection.retrieval; print('ray' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.strip() == "False", process.stderr
