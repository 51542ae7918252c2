"""Networks from checkpoints are the ones that were evaluated, bit for bit, and what is missing is one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from raysearch.core.errors import UserError
from raysearch.data import synthetic
from raysearch.inspection.loading import open_run
from raysearch.inspection.retrieval import Codes, look
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
    cell = run.chosen(variant)
    task = run.task(cell)
    encode, database = task.judged()
    wanted_queries, wanted_database = trained.codes[variant]
    assert torch.equal(encode(task.worker.feed.test), wanted_queries)
    assert torch.equal(database, wanted_database)
    assert Codes.of(task).mean == cell.value


def test_nothing_is_trained_and_no_start_is_computed(trained: Trained, monkeypatch: pytest.MonkeyPatch):
    def never(*_: object) -> None:
        raise AssertionError

    run = open_run(trained.directory)
    for name in ("advance", "_epoch", "_start_from_features"):
        monkeypatch.setattr(retrieval_task.RetrievalTask, name, never)
    run.task(run.chosen("reference"))


def test_the_kept_iteration_is_not_the_last_one(trained: Trained):
    """Else choosing between them would be tested by nothing."""
    run = open_run(trained.directory)
    differs = []
    for variant in ("reference", "srem.regions=0", "hash.method=dpsh", "hash.method=exchnet"):
        state = decode_state(
            Checkpoints(str(trained.directory / FOLDER), run.chosen(variant).cell).read() or b"", run.device
        )
        best = state["task"]["best"]["network"]
        differs.append(any(not torch.equal(best[name], last) for name, last in state["task"]["network"].items()))
    assert any(differs)


def test_weights_that_moved_matter_only_to_an_untrained_trunk(trained: Trained, copy: Path, monkeypatch):
    record = read_study_json(copy)
    for variant in record["variants"]:
        variant["config"]["model"]["weights"] = "/gone/trunk.pth"
    write_study_json(copy, record)
    run = open_run(copy)
    cells = [run.chosen("reference"), run.chosen("hash.method=exchnet")]
    assert look(run, cells, 1)[1] == [cell.value for cell in cells]
    with pytest.raises(UserError, match=r"/gone/trunk\.pth"):
        run.task(run.chosen("hash.method=itq"))


def test_a_missing_checkpoint_is_one_line(copy: Path):
    cell = open_run(copy).chosen("reference").cell
    shutil.rmtree(copy / FOLDER / cell)
    with pytest.raises(UserError, match=f"no checkpoint of the end of cell {cell} .*--storage") as raised:
        open_run(copy).chosen("reference")
    assert "\n" not in str(raised.value)
    assert open_run(copy).chosen("srem.regions=0").value


def test_a_checkpoint_of_half_the_way_is_none(copy: Path):
    cell = open_run(copy).chosen("reference").cell
    kept = Checkpoints(str(copy / FOLDER), cell)
    state = decode_state(kept.read() or b"", torch.device("cpu"))
    kept.save(state | {"history": json.dumps(json.loads(state["history"])[:-1])}, best=True)
    with pytest.raises(UserError, match="no checkpoint of the end"):
        open_run(copy).chosen("reference")


def test_a_checkpoint_is_found_in_the_run_beside_and_in_a_storage(copy: Path):
    own = open_run(copy).chosen("reference")
    beside = copy.parent / "first"
    beside.mkdir()
    shutil.move(copy / FOLDER, beside / FOLDER)
    assert open_run(copy).chosen("reference") == own
    shutil.move(beside / FOLDER, copy.parent.parent / "elsewhere")
    with pytest.raises(UserError, match="no checkpoint"):
        open_run(copy).chosen("reference")
    run = open_run(copy, storage=str(copy.parent.parent / "elsewhere"))
    assert run.task(run.chosen("reference"))


def test_another_version_of_the_code_is_one_line(copy: Path):
    for path in (copy / "cells").glob("*.parquet"):
        record = results.read_cells(copy / "cells", [path.stem])[path.stem]
        results.write_cell(copy / "cells", record | {"code_version": 1})
    with pytest.raises(UserError, match=r"trained by version 1 of the task's code, this is \d+"):
        open_run(copy).chosen("reference")


def test_the_data_may_move_and_must_be_the_same(trained: Trained, copy: Path, tmp_path: Path):
    moved = shutil.copytree(trained.data, tmp_path / "moved")
    record = read_study_json(copy)
    record["data"]["path"] = str(tmp_path / "gone")
    write_study_json(copy, record)
    with pytest.raises(UserError, match=r"no longer at .*gone; say where with --data"):
        open_run(copy)
    assert open_run(copy, str(moved)).manifest.content_hash == record["data"]["content_hash"]
    other = synthetic.ensure_shards(
        synthetic.SyntheticSpec(classes=2, train_per_class=2, test_per_class=1, side=32), tmp_path / "o"
    )
    with pytest.raises(UserError, match="holds other data than the run was made of"):
        open_run(copy, str(other))


def test_needs_no_ray():
    code = "import sys, dashboards.gallery.build, raysearch.inspection.retrieval; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
