"""A run directory from elsewhere chooses no server, names no file outside of it, and fits into the memory."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboards.comparison.page import read_comparison, write_comparison
from raysearch.core import UserError
from raysearch.engine.cluster.budget import CostMeter
from raysearch.engine.monitoring.heartbeat_writer import HeartbeatWriter
from raysearch.inspection import finished_run
from raysearch.runs import RunLocation, results
from raysearch.runs.checkpoints import Checkpoints

from ..dashboards.written import write
from ..study_json import read_study_json, write_study_json

CELL = "c" * 20


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine, and what was sent to it."""
    requests: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(2)
                    requests.append(b"connected")
                    with contextlib.suppress(OSError):
                        requests.append(connection.recv(4096))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield server.getsockname()[1], requests
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


URIS = [
    "s3://b/x?endpoint_override=127.0.0.1:{port}&scheme=http",
    "s3://b/x?region=eu&endpoint_override=http://127.0.0.1:{port}",
    "s3://b/x?%65ndpoint_override=127.0.0.1:{port}&scheme=http",
    "s3://KEY:SECRET@b/x?endpoint_override=127.0.0.1:{port}&scheme=http",
    "S3://b/x?endpoint_override=127.0.0.1:{port}&scheme=http",
    "gs://b/x?endpoint_override=127.0.0.1:{port}&scheme=http",
    "http://127.0.0.1:{port}/x",
    "ftp://127.0.0.1:{port}/x",
    "webhdfs://127.0.0.1:{port}/x",
    "hdfs://127.0.0.1:{port}/x",
]


@pytest.mark.parametrize("uri", URIS)
def test_a_record_chooses_no_server(
    uri: str, listener: tuple[int, list[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, requests = listener
    write(tmp_path, {"reference": {0: 0.5}})
    record = read_study_json(tmp_path)
    write_study_json(tmp_path, record | {"data": {"path": uri.format(port=port), "content_hash": "0"}})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEYID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRETKEY")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKENTOKEN")
    from raysearch import train  # imports torch

    for use in (lambda: finished_run.open_run(tmp_path), lambda: train._data_of_run(results.read_study(tmp_path))):
        with pytest.raises(UserError, match="is not contacted: give the URI with --data") as refused:
            use()
        assert "SECRET" not in str(refused.value)
    assert requests == []


def test_the_gallery_asks_for_data(listener: tuple[int, list[bytes]], tmp_path: Path) -> None:
    """The command, in a process of its own: one line, exit code 2, and no request."""
    port, requests = listener
    write(tmp_path, {"reference": {0: 0.5}})
    path = f"s3://b/x?endpoint_override=127.0.0.1:{port}&scheme=http"
    write_study_json(tmp_path, read_study_json(tmp_path) | {"data": {"path": path}})
    words = [sys.executable, "-m", "raysearch.report", str(tmp_path), "--gallery"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: the run's data set is at 's3://b/x?endpoint_override=127.0.0.1")
    assert "--data" in ended.stderr
    assert requests == []


@pytest.mark.parametrize("host", ["../../precious", "..//../precious", "a/../../../precious"])
def test_a_heartbeat_removes_no_file_elsewhere(host: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious-1.json"
    precious.write_text("{}")
    run = tmp_path / "run"
    (run / "progress/a").mkdir(parents=True)
    beat = {"host": host, "pid": 1, "started": 0, "beat": 0, "state": "ended", "error": None, "stage": None}
    (run / "progress/a.json").write_text(json.dumps(beat))
    with HeartbeatWriter(run):
        pass
    assert precious.exists()


def cell_file(folder: Path, table: pa.Table, **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / f"{CELL}.parquet", **options)
    return folder


def plain(**columns: Any) -> pa.Table:
    return pa.table({"cell": [CELL], "status": ["finished"], "seed": [0]} | columns)


BLANKS = " " * 150_000_000


@pytest.mark.parametrize("compression", ["zstd", "gzip", "brotli"])
def test_a_cell_that_is_small_on_disk_alone_is_refused(compression: str, tmp_path: Path) -> None:
    cells = cell_file(tmp_path / "cells", plain(history=[BLANKS]), compression=compression, use_dictionary=False)
    assert (cells / f"{CELL}.parquet").stat().st_size < 1 << 20
    with pytest.raises(UserError, match=r"its columns take 150,0.* bytes, and no cell takes more than 134,217,728"):
        results.read_cells(cells, [CELL])


@pytest.mark.parametrize(
    ("table", "options"),
    [
        (plain(history=["x" * 100]), {"compression": "zstd"}),  # whose footer might understate its size
        (plain(history=[[0] * 1_000_000]), {}),  # a few bytes by run lengths
        (plain(history=[{"a": 1, "b": [1, 2]}]), {}),
        (pa.table({"cell": [CELL] * 1_000_000, "status": ["finished"] * 1_000_000}), {}),
    ],
    ids=["compression", "list", "struct", "rows"],
)
def test_a_cell_of_another_shape_is_refused(table: pa.Table, options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is compressed by ZSTD|is not one number or text|1,000,000 rows"):
        results.read_cells(cell_file(tmp_path / "cells", table, **options), [CELL])


def test_a_cell_as_large_as_a_disk_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    with open(tmp_path / f"cells/{CELL}.parquet", "wb") as file:
        file.truncate(1 << 40)  # takes no space
    with pytest.raises(UserError, match="no cell has more than 16,777,216"):
        results.read_cells(tmp_path / "cells", [CELL])


def test_links_and_pipes_in_a_run_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    write(secret, {"reference": {0: 0.5}})
    (cell,) = (secret / "cells").iterdir()
    run = tmp_path / "run"
    (run / "cells").mkdir(parents=True)
    (run / "checkpoints" / CELL).mkdir(parents=True)
    (run / "cells" / cell.name).symlink_to(cell)
    (run / "study.json").symlink_to(secret / "study.json")
    (run / f"checkpoints/{CELL}/newest.pt").symlink_to(cell)
    os.mkfifo(run / f"checkpoints/{CELL}/best.pt")
    reads = [
        lambda: results.read_study(run),
        lambda: results.read_cells(run / "cells", [cell.stem]),
        lambda: Checkpoints(str(run / "checkpoints"), CELL).read(),
    ]
    for read in reads:
        with pytest.raises(UserError, match="is a link that leads out of"):
            read()
    (run / f"checkpoints/{CELL}/newest.pt").unlink()
    with pytest.raises((UserError, OSError), match="not a regular file"):
        Checkpoints(str(run / "checkpoints"), CELL).read()


def test_links_inside_a_run_are_read(tmp_path: Path) -> None:
    """A colleague who removed duplicates by links still has a run."""
    write(tmp_path, {"reference": {0: 0.5}})
    (cell,) = (tmp_path / "cells").iterdir()
    cell.rename(tmp_path / "cells/first")
    cell.symlink_to("first")
    assert results.read_cells(tmp_path / "cells", [cell.stem])[cell.stem]["map"] == 0.5


@pytest.mark.parametrize("name", ["cells", "tables", "progress", "optuna.db"])
def test_a_sweep_writes_through_no_link(name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(home if name != "optuna.db" else home / "places.sqlite")
    with pytest.raises(UserError, match=f"{name}' is a link that leads out of"):
        RunLocation(tmp_path / "run").check_writable()
    assert list(home.iterdir()) == []


def test_a_comparison_writes_through_no_link(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, {"reference": {0: 0.5}})
    home = tmp_path / "home"
    home.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "tables").symlink_to(home)
    with pytest.raises(UserError, match="tables' is a link that leads out of"):
        write_comparison(read_comparison([tmp_path / "a", tmp_path / "b"]), out)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", '{"dollars": "x"}', '{"node_hours": {"a": []}}', "\0"])
def test_a_damaged_cost_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "cost.json").write_text(text)
    with pytest.raises(UserError, match=r"cost\.json' is damaged .*; remove it to count the cost from zero"):
        CostMeter(tmp_path / "cost.json", nodes=list)
