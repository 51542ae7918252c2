"""Runs whose home is a store: what is written here is there, and another machine goes on with it."""

import json
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.runs import RunLocation, StudyRecord, results, run_location
from raysearch.storage import Location

from ..s3_server import Server


def test_a_directory_is_its_own_home(tmp_path: Path) -> None:
    home = RunLocation(tmp_path / "run")
    home.fetch()
    home.check_writable()
    with home.synced(lambda message: pytest.fail(message)):
        (home.directory / "study.json").write_text("{}")
    assert home.directory == tmp_path / "run"
    assert home.place is None


def test_several_sweeps_may_start_at_the_same_moment(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as sweeps:
        for attempt in range(50):
            home = RunLocation(tmp_path / str(attempt))
            for started in [sweeps.submit(home.check_writable) for _ in range(8)]:
                started.result()
            assert list((home.directory / "cells").iterdir()) == []


def test_what_is_written_here_is_there_and_comes_to_another_machine(
    s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "one"))
    home = RunLocation(s3.uri("runs/birds"))
    home.check_writable()
    with home.synced(lambda message: pytest.fail(message)):
        (home.directory / "cells" / "0123456789abcdef0123.parquet").write_bytes(b"a cell")
        (home.directory / "cells" / ".0123456789abcdef0123.parquet.tmp").write_bytes(b"half a cell")
        (home.directory / "study.json").write_text('{"study": "birds"}')
        with sqlite3.connect(home.directory / "optuna.db") as database:
            database.execute("create table trials (number int)")
    place = Location.parse(s3.uri("runs/birds"))
    assert set(place.listing()) == {"cells/", "study.json", "optuna.db"}
    assert list((place / "cells").listing()) == ["0123456789abcdef0123.parquet"]
    # names that no sweep gives stay where they are
    (place / "cells" / "evil.parquet").write(b"?")
    (place / "setup.py").write(b"?")

    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "other"))
    other = RunLocation(s3.uri("runs/birds"))
    other.fetch()
    assert other.directory != home.directory
    found = {str(file.relative_to(other.directory)) for file in other.directory.rglob("*") if file.is_file()}
    assert found == {"cells/0123456789abcdef0123.parquet", "study.json", "optuna.db"}
    assert json.loads((other.directory / "study.json").read_text()) == {"study": "birds"}
    with sqlite3.connect(other.directory / "optuna.db") as database:
        assert database.execute("select count(*) from trials").fetchone() == (0,)


def test_a_run_in_a_store_is_followed(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_location, "INTERVAL", 0.05)
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path))
    place, home = Location.parse(s3.uri("runs/birds")), RunLocation(s3.uri("runs/birds"))
    news = home.directory / "progress" / "host-1.json"
    with home.watched():
        for said in (b"1", b"2"):
            (place / "progress" / "host-1.json").write(said)
            for _ in range(400):
                if not news.exists() or news.read_bytes() != said:
                    time.sleep(0.05)
            assert news.read_bytes() == said


def test_only_what_changed_is_carried_again(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_location, "INTERVAL", 0.05)
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path))
    home = RunLocation(s3.uri("runs/birds"))
    home.check_writable()
    study = StudyRecord(study="birds", variants=[], cells=[])
    s3.requests.clear()
    with home.synced(lambda message: pytest.fail(message)):
        results.write_study(home.directory, study)  # whole, as a sweep does; a file half written would be carried twice
        time.sleep(1.0)  # several turns
    uploads = [request for request in s3.requests if "POST /bucket/runs/birds/study.json?uploads " in request]
    assert len(uploads) == 1, s3.requests
    assert results.read_study(home.directory) == study


def test_a_store_that_fails_is_told_and_not_forgotten(
    s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_location, "INTERVAL", 0.05)
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path))
    home = RunLocation(s3.uri("runs/birds"))
    home.check_writable()
    said: list[str] = []
    s3.request("POST", "/moto-api/reset")  # and the bucket is gone
    kept = home.synced(said.append)
    kept.__enter__()
    (home.directory / "study.json").write_text("{}")
    for _ in range(200):
        if not said:
            time.sleep(0.05)
    with pytest.raises(UserError, match="no such bucket"):
        kept.__exit__(None, None, None)
    assert said
    assert "tried again" in said[0]


def test_a_bucket_that_is_not_there_is_said_before_any_work(s3: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such bucket"):
        RunLocation(s3.uri("runs/birds", bucket="nowhere")).check_writable()


@pytest.mark.slow
def test_a_sweep_is_taken_over_by_another_machine(
    s3: Server, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = s3.uri("runs/birds")
    command = [
        sys.executable,
        "-m",
        "raysearch.sweep",
        "srem_ablation",
        "--profile",
        "laptop",
        "--data",
        str(tiny_data),
    ]
    command += ["--seeds", "1", "--only", "srem.size=32", "--out", uri, "--set", "train.iterations=1"]
    command += ["--set", "train.epochs=1", "--set", "train.batch=8", "--set", "data.side=32"]
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "one"))
    subprocess.run([*command, "--only", "srem.regions=0"], check=True, timeout=300, stdout=subprocess.DEVNULL)
    assert set(Location.parse(uri).listing()) >= {"cells/", "checkpoints/", "tables/", "study.json", "report.html"}
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "other"))
    done = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    assert "3 to run" in done.stdout  # of five, two had ended on the other machine
    other = RunLocation(uri)
    assert results.load(other.directory)["status"].to_pylist() == ["finished"] * 5
