"""Reading cells: what was read once is not opened again, and whatever happens to the files is seen."""

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
from raysearch.runs import cells

# Writes cells of its own and one that it shares with another writer, for ever; the numbers of a cell belong together.
WRITER = """
import sys
from pathlib import Path
from raysearch.runs import cells
turn = 0
while True:
    for cell in ("shared", f"{sys.argv[2]}{turn % 4}"):
        text = f"{sys.argv[2]}{turn} " * 5000
        record = {"cell": cell, "seed": 0, "status": "finished", "error": None, "config": "{}"}
        cells.write_cell(Path(sys.argv[1]), record | {"map": float(turn), "history": text, "environment": sys.argv[2]})
    turn += 1
    print(turn, flush=True)
"""


def record(cell: str, value: float | None = 0.5, status: str = "finished", **changes: Any) -> dict[str, Any]:
    row = {"seed": 0, "cell": cell, "status": status, "error": None, "config": "{}", "map": value, "seconds": 1.0}
    return row | changes


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cells whose files were opened."""
    names: list[str] = []
    read = cells.CellReader._read_file

    def spy(reader: cells.CellReader, cell: str) -> Any:
        names.append(cell)
        return read(reader, cell)

    monkeypatch.setattr(cells.CellReader, "_read_file", spy)
    return names


def test_a_file_is_opened_once(tmp_path: Path, opened: list[str]):
    names = [f"c{index}" for index in range(600)]  # more than are read at once
    for name in names[:-1]:
        cells.write_cell(tmp_path, record(name, float(name[1:])))
    reader = cells.CellReader(tmp_path)
    first = reader.read(names)
    assert list(first) == names[:-1]
    assert all(first[name]["map"] == float(name[1:]) for name in names[:-1])
    assert sorted(opened) == sorted(names[:-1])
    opened.clear()
    assert reader.read(names[:10]) == {name: first[name] for name in names[:10]}
    cells.write_cell(tmp_path, record(names[-1]))
    assert list(reader.read(reversed(names))) == names[::-1]
    assert opened == names[-1:]


def test_a_cell_that_was_run_again_is_seen_even_with_the_old_size_and_time(tmp_path: Path, opened: list[str]):
    path = tmp_path / "c0.parquet"
    cells.write_cell(tmp_path, record("c0", None, "failed"))
    reader = cells.CellReader(tmp_path)
    assert reader.read(["c0"])["c0"]["status"] == "failed"
    cells.write_cell(tmp_path, record("c0", 0.25))
    before = path.stat()
    assert reader.read(["c0"])["c0"]["map"] == 0.25
    cells.write_cell(tmp_path, record("c0", 0.75))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reader.read(["c0"])["c0"]["map"] == 0.75
    assert len(opened) == 3


def test_a_removed_cell_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reader = cells.CellReader(tmp_path / "cells")
    assert reader.read(["c0"]) == {}
    for name in ("c0", "c1"):
        cells.write_cell(tmp_path / "cells", record(name))
    assert list(reader.read(["c0", "c1"])) == ["c0", "c1"]
    (tmp_path / "cells" / "c0.parquet").unlink()
    assert list(reader.read(["c0", "c1"])) == ["c1"]
    # between the look into the directory and the opening of the file
    monkeypatch.setattr(cells.CellReader, "_present", lambda reader, wanted: dict.fromkeys(wanted))
    assert list(cells.CellReader(tmp_path / "cells").read(["c0", "c1"])) == ["c1"]


def test_a_damaged_file_is_named_until_it_is_mended(tmp_path: Path):
    cells.write_cell(tmp_path, record("c0"))
    reader = cells.CellReader(tmp_path)
    reader.read(["c0"])
    (tmp_path / "c0.parquet").write_bytes(b"half a fi")
    for _ in range(2):
        with pytest.raises(UserError, match=r"c0\.parquet.*remove it"):
            reader.read(["c0"])
    cells.write_cell(tmp_path, record("c0", 0.75))
    assert reader.read(["c0"])["c0"]["map"] == 0.75


def test_two_writers_at_once_that_are_killed_leave_whole_cells_and_a_reader_that_is_up_to_date(tmp_path: Path):
    names = ["shared", *(f"{who}{index}" for who in "ab" for index in range(4))]
    reader = cells.CellReader(tmp_path)
    for turn in range(2):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), who], stdout=subprocess.PIPE) for who in "ab"
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        for _ in range(50):
            for row in reader.read(names).values():
                assert set(row["history"].split()) == {f"{row['environment']}{int(row['map'])}"}
        time.sleep(0.013 * turn)
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()
        assert reader.read(names) == cells.read_cells(tmp_path, names)
    assert len(reader.read(names)) > 2


def test_files_of_an_older_layout_are_read(tmp_path: Path):
    row = record("c0", history='[{"loss": 1.0}]')
    pq.write_table(cells.as_table([row]), tmp_path / "c0.parquet")  # with dictionaries, as it used to be
    cells.write_cell(tmp_path, row | {"cell": "c1"})
    found = cells.read_cells(tmp_path, ["c0", "c1"])
    assert found["c0"] == found["c1"] | {"cell": "c0"} == row
    assert (tmp_path / "c1.parquet").stat().st_size < (tmp_path / "c0.parquet").stat().st_size


def test_a_factor_of_mixed_levels_is_json():
    table = cells.as_table([{"x": 5}, {"x": "auto"}, {"x": None}, {"y": [0.5]}], ["x"])
    assert table["x"].to_pylist() == ["5", '"auto"', None, None]
    assert table["y"].to_pylist() == [None, None, None, [0.5]]


def test_equal_texts_are_held_once(tmp_path: Path):
    for name in ("c0", "c1"):
        cells.write_cell(tmp_path, record(name, config='{"train": {}}'))
    found = cells.read_cells(tmp_path, ["c0", "c1"])
    assert found["c0"]["config"] is found["c1"]["config"]
