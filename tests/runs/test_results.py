"""The results store under what happens to it: writers killed in the middle, damaged files, neighbours with cells."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raysearch.core import UserError
from raysearch.runs import StudyRecord, results

from ..study_json import read_study_json, write_study_json

# Writes one cell over and over with a history of many kilobytes, so that a kill often falls into a write.
WRITER = """
import sys
from pathlib import Path
from raysearch.runs import results
record = {"cell": "c0", "seed": 0, "status": "finished", "error": None, "config": "{}"}
turn = 0
while True:
    results.write_cell(Path(sys.argv[1]), record | {"map": float(turn), "history": f"{turn} " * 20000})
    turn += 1
    print(turn, flush=True)
"""


def record(cell: str, value: float | None = 0.5, status: str = "finished", **changes: Any) -> dict[str, Any]:
    error = None if status == "finished" else "the loss is nan in iteration 2"
    row = {"seed": 0, "cell": cell, "status": status, "error": error, "config": "{}", "map": value, "seconds": 1.0}
    return row | changes


def study(cells: list[tuple[str, str, int]], name: str = "s") -> dict[str, Any]:
    variants = list(dict.fromkeys(variant for _, variant, _ in cells))
    return {
        "study": name,
        "factors": ["srem.regions"],
        "variants": [{"name": one, "settings": {"srem.regions": index}} for index, one in enumerate(variants)],
        "cells": [{"cell": cell, "variant": variant, "seed": seed} for cell, variant, seed in cells],
    }


def test_load_has_the_promised_columns_in_the_plan_s_order(tmp_path: Path):
    write_study_json(tmp_path, study([("c0", "reference", 0), ("c1", "a", 0), ("c2", "b", 0)]))
    results.write_cell(tmp_path / "cells", record("c1", None, "failed"))
    results.write_cell(tmp_path / "cells", record("c0"))
    table = results.load(tmp_path)
    assert table.column_names[:8] == [
        "study", "variant", "seed", "cell", "status", "error", "config", "srem.regions",
    ]  # fmt: skip
    rows = table.to_pylist()
    assert [(row["variant"], row["status"], row["map"]) for row in rows] == [
        ("reference", "finished", 0.5),
        ("a", "failed", None),
    ]
    assert rows[1]["error"] == "the loss is nan in iteration 2"
    assert results.save_table(tmp_path).equals(pq.read_table(tmp_path / "results.parquet"))


def test_a_run_without_ended_cells_loads_empty(tmp_path: Path):
    write_study_json(tmp_path, study([("c0", "reference", 0)]))
    assert results.load(tmp_path).num_rows == 0


def test_cells_that_are_not_planned_are_left_out(tmp_path: Path):
    write_study_json(tmp_path, study([("c0", "reference", 0)]))
    for cell in ("c0", "of_an_older_plan"):
        results.write_cell(tmp_path / "cells", record(cell))
    assert results.load(tmp_path)["cell"].to_pylist() == ["c0"]


def test_a_killed_writer_leaves_a_cell_whole_or_absent(tmp_path: Path):
    for turn in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.013 * turn)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        cell = results.read_cells(tmp_path, ["c0"])["c0"]
        assert set(cell["history"].split()) == {str(int(cell["map"]))}


def test_a_write_that_fails_leaves_the_old_cell_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    results.write_cell(tmp_path, record("c0", 0.25))

    def full_disk(table: Any, path: Path, **options: Any) -> None:
        path.write_bytes(b"half a fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.pq, "write_table", full_disk)
    with pytest.raises(OSError, match="No space"):
        results.write_cell(tmp_path, record("c0", 0.75))
    assert results.read_cells(tmp_path, ["c0"])["c0"]["map"] == 0.25
    assert [path.name for path in tmp_path.iterdir()] == ["c0.parquet"]


def test_a_damaged_file_is_named(tmp_path: Path):
    write_study_json(tmp_path, study([("c0", "reference", 0)]))
    results.write_cell(tmp_path / "cells", record("c0"))
    path = tmp_path / "cells" / "c0.parquet"
    for damage in (path.read_bytes()[:-20], b""):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=r"c0\.parquet.*remove it"):
            results.load(tmp_path)
    (tmp_path / "study.json").write_text('{"study": ')
    with pytest.raises(UserError, match="damaged"):
        results.load(tmp_path)
    with pytest.raises(UserError, match="not a run directory"):
        results.load(tmp_path / "nowhere")


def test_adopts_finished_cells_of_neighbours_once(tmp_path: Path):
    for name, value in (("one", 0.1), ("two", 0.2)):
        write_study_json(tmp_path / name, study([("shared", "reference", 0)], name))
        results.write_cell(tmp_path / name / "cells", record("shared", value))
    results.write_cell(tmp_path / "two" / "cells", record("failed", None, "failed"))
    results.write_cell(tmp_path / "no_run" / "cells", record("elsewhere"))
    here = tmp_path / "mine"
    write_study_json(here, study([("shared", "a", 3), ("failed", "reference", 0)], "mine"))
    assert list(results.adopt(here, ["shared", "failed", "elsewhere", "shared"]).values()) == [1]
    row = results.load(here).to_pylist()[0]
    assert (row["study"], row["variant"], row["map"]) == ("mine", "a", 0.1)
    assert results.adopt(here, []) == {}


def test_a_cell_of_another_kind_of_device_is_not_adopted(tmp_path: Path):
    kinds = {"gpu": {"device": "NVIDIA L4"}, "earlier_gpu": {"gpu_seconds": 9.0}, "earlier_cpu": {"gpu_seconds": 0.0}}
    for name, changes in kinds.items():
        write_study_json(tmp_path / name, study([(name, "reference", 0)], name))
        results.write_cell(tmp_path / name / "cells", record(name, **changes))
    assert results.adopt(tmp_path / "mine", kinds) == {str(tmp_path / "earlier_cpu"): 1}
    # On a GPU the names themselves differ.
    assert results.adopt(tmp_path / "other", ["gpu"], "cuda") == {str(tmp_path / "gpu"): 1}


def test_the_table_is_put_together_from_the_cells_alone(tmp_path: Path):
    write_study_json(tmp_path, study([("c0", "reference", 0), ("c1", "a", 0)]))
    results.write_cell(tmp_path / "cells", record("c0"))
    results.save_table(tmp_path)
    results.write_cell(tmp_path / "cells", record("c0", 0.75))
    results.write_cell(tmp_path / "cells", record("c1"))
    assert results.load(tmp_path)["map"].to_pylist() == [0.75, 0.5]
    (tmp_path / "results.parquet").write_bytes(b"half a fi")
    assert results.save_table(tmp_path).equals(results.load(tmp_path))
    assert results.load(tmp_path).equals(pq.read_table(tmp_path / "results.parquet"))


def test_a_kept_reader_loads_what_a_new_one_does(tmp_path: Path):
    write_study_json(tmp_path, study([(f"c{index}", "reference", index) for index in range(5)]))
    reader = results.CellReader(tmp_path / "cells")
    for index in (3, 0, 4):
        results.write_cell(tmp_path / "cells", record(f"c{index}", index / 10))
        assert results.load(tmp_path, reader).equals(results.load(tmp_path))


def test_a_search_tells_tuning_cells_from_judging_ones(tmp_path: Path):
    planned = study([("c0", "0: x=1", 0), ("c1", "reference", 9)])
    planned["cells"][0]["stage"], planned["cells"][1]["stage"] = "search", "judge"
    write_study_json(tmp_path, planned)
    for cell in ("c0", "c1"):
        results.write_cell(tmp_path / "cells", record(cell))
    assert results.load(tmp_path)["stage"].to_pylist() == ["search", "judge"]


def test_study_json_keeps_what_it_was_given(tmp_path: Path):
    given = study([("c0", "reference", 0)]) | {"question": "größer \N{RIGHTWARDS ARROW} besser?"}
    results.write_study(tmp_path, StudyRecord.model_validate(given))
    assert results.read_study(tmp_path).to_dict() == given
    assert read_study_json(tmp_path) == given


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_cell_of_another_user_is_not_taken_over(tmp_path: Path) -> None:
    for name, cell in (("mine", "aaaa1111"), ("theirs", "bbbb2222")):
        results.write_study(tmp_path / name, StudyRecord(study="s", variants=[], cells=[]))
        row = {"cell": cell, "seed": 0, "status": "finished", "map": 0.999}
        results.write_cell(tmp_path / name / "cells", row)
    os.chown(tmp_path / "theirs" / "cells" / "bbbb2222.parquet", 65534, 65534)
    taken = results.adopt(tmp_path / "here", ["aaaa1111", "bbbb2222"])
    assert taken == {str(tmp_path / "mine"): 1}
    assert list(results.read_cells(tmp_path / "here" / "cells", ["aaaa1111", "bbbb2222"])) == ["aaaa1111"]


INPUT = [
    "UserError: no file 'a.pth'",
    "FileNotFoundError: [Errno 2] No such file or directory: 'a.pth'",
    "rank 1: raysearch.core.errors.UserError: hash.bits=0 is too few",
    "rank 0, 2: PermissionError: [Errno 13] Permission denied",
    "OSError: [Errno 28] No space left on device",
    "RuntimeError: PytorchStreamWriter failed: [Errno 28] No space left on device",
    "OSError: [Errno 122] Disk quota exceeded: 'newest.pt'",
    "ModuleNotFoundError: No module named 'timm'",
    "Unreachable: s3://b: the host does not answer",
    "given up after 4 attempts, the last: rank 0: out of GPU memory while other processes hold 14.0 of 24.0 GiB",
]
RESULT = [
    "NonFiniteLoss: the loss became nan",
    "out of GPU memory: 79.0 of 80.0 GiB used; set a smaller train.batch",
    "given up after 4 attempts without a step in between, the last: the worker of rank 0 died",
    "TypeError: unsupported operand",
    "ValueError: a FileNotFoundError: was mentioned",
    "None",
]


def test_failures_of_the_input_are_told_from_results(tmp_path: Path) -> None:
    assert [error for error in [*INPUT, *RESULT] if results.is_input_error(error)] == INPUT
    for number, (error, again) in enumerate([(INPUT[0], True), (RESULT[0], False), (None, True)]):
        start = f"cafe000{number}"
        if error is not None:
            row = {"cell": start, "seed": 0, "status": "failed", "error": error}
            results.write_cell(tmp_path, row)
        dependent = {
            "status": "failed",
            "error": f"RuntimeError: its pre-training, cell {start}, did not come to its end",
        }
        assert results.failed_by_input(tmp_path, dependent) is again
    assert not results.failed_by_input(tmp_path, {"status": "finished", "error": None})
