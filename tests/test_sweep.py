"""The main job as a user starts it: real processes, real signals."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest
from PIL import Image

import raysearch.sweep
from raysearch import ingest
from raysearch.data import shards, synthetic
from raysearch.runs import results

from . import commands

# Both cells of the last variant fail: its rate makes the loss infinite.
STUDY = """
from raysearch.studies.space import Ablation, factor
study = Ablation(
    question="Does erasing help?",
    task="retrieval",
    base={"hash.bits": 12, "train.iterations": 4, "train.epochs": 8, "train.batch": 8, "data.side": 32},
    reference={"srem.regions": 5, "train.lr": 1e-3},
    factors=[factor("srem.regions", 0, 10), factor("train.lr", 1e30)],
    seeds=2,
)
"""
CELLS = 8


Refuse = Callable[[list[str], str], None]


@pytest.fixture
def refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Return a check that a command prints a line per mistake, the first with a message, and writes nothing."""
    monkeypatch.chdir(tmp_path)

    def _refuse(words: list[str], message: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert commands.run_app(raysearch.sweep.app, *words) == 2
        printed = capsys.readouterr()
        lines = [line for line in printed.err.splitlines() if line.strip()]
        assert lines
        assert all(line.startswith("error: ") for line in lines), printed.err
        assert message in lines[0]
        assert "Traceback" not in printed.err + printed.out
        assert sorted(tmp_path.rglob("*")) == before

    return _refuse


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A directory with a study file and a small data set."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "study.py").write_text(STUDY)
    (folder / "data").symlink_to(tiny_data)
    return folder


def sweep(here: Path, out: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "raysearch.sweep", str(here / "study.py"), "--data", str(here / "data")]
    command += ["--profile", "laptop", "--out", str(here / out), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def cells(run: Path) -> dict[str, int]:
    """Cell files and the times of their last change."""
    return {path.name: path.stat().st_mtime_ns for path in (run / "cells").glob("*.parquet")}


def outcome(run: Path) -> list[tuple]:
    table = results.load(run)
    return sorted(
        zip(*(table[name].to_pylist() for name in ("variant", "seed", "status", "map", "map_index")), strict=True)
    )


@pytest.mark.slow
def test_a_killed_driver_loses_nothing_and_changes_no_number(here: Path) -> None:
    # Each run has a folder of its own: neighbours would share their cells.
    whole = finish(sweep(here, "a/whole"))
    assert f"{CELLS} to run" in whole
    run = here / "a" / "whole"
    assert f"follow it in a browser: python -m raysearch.report {run} --live" in whole
    assert f"\nwrote {run}: report.html, " in whole

    killed = here / "b/killed"
    process = sweep(here, "b/killed")
    deadline = time.monotonic() + 200
    while not 2 <= len(cells(killed)) < CELLS:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no cell ended in time"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    before = cells(killed)
    assert 0 < len(before) < CELLS

    again = finish(sweep(here, "b/killed"))
    assert f"{CELLS - len(before)} to run" in again
    after = cells(killed)
    assert {name: after[name] for name in before} == before, "a cell that had ended was written again"
    assert outcome(killed) == outcome(here / "a/whole")

    failed = [row for row in outcome(killed) if row[2] == "failed"]
    assert [row[0] for row in failed] == ["train.lr=1e+30"] * 2
    errors = results.load(killed).filter(pc.field("status") == "failed")["error"]
    assert all("epoch" in error for error in errors.to_pylist())

    started = time.monotonic()
    third = finish(sweep(here, "b/killed"))
    assert time.monotonic() - started < 20
    assert "nothing to run" in third
    assert cells(killed) == after
    assert (killed / "report.html").stat().st_size > 100_000

    retried = finish(sweep(here, "b/killed", "--retry-failed"))
    assert "2 to run" in retried
    table = results.load(killed)
    attempts = table.filter(pc.field("status") == "failed")["attempts"].to_pylist()
    assert min(attempts) >= 2, "a failed cell was answered from its old record"

    # A run beside the first finds its finished cells; the failed ones are its own to try.
    beside = finish(sweep(here, "a/beside", "--dry-run"))
    assert f"{CELLS} to run" in beside


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["srem_ablatio"], "unknown study 'srem_ablatio'; did you mean 'srem_ablation'?"),
        (["no/such.py"], "no study file 'no/such.py'"),
        (["srem_ablation", "--seds", "3"], "unknown flag --seds; did you mean '--seeds'?"),
        (["srem_ablation", "--set", "srem.region=1"], "did you mean 'srem.regions'?"),
        (["srem_ablation", "--set", "srem.size=500"], "srem.size=500 erases more than the image"),
        (["srem_ablation", "--set", "srem.regions=100000"], "srem.regions=100000 are more than"),
        (["srem_ablation", "--set", "hash.bits=0"], "hash.bits=0"),
        (["srem_ablation", "--set", "model.backbone=resnet51"], "did you mean 'resnet50'?"),
        (["srem_ablation", "--set", "model.weights=gone.pth"], "no file 'gone.pth'"),
        (["srem_ablation", "--set", "bits"], "PATH=VALUE"),
        (["srem_ablation", "--seeds", "0"], "at least one seed"),
        (["srem_ablation", "--profile", "desktop"], "unknown profile 'desktop'"),
        (["srem_ablation", "--profile", "paper"], "needs the paper's data"),
        (["srem_ablation", "--data", "gone"], "/gone; make one with"),
        (["srem_ablation", "--data", "."], "no manifest.json"),
        (["srem_ablation", "--trials", "4"], "--trials is for searches"),
        (["srem_ablation", "--max-cost", "4"], "the price of this machine is not known"),
        (
            ["srem_ablation", "--workers", "2", "--gpus-per-worker", "0.5"],
            "share a GPU between trials, not between the",
        ),
        (["srem_ablation", "--gpus-per-worker", "2"], "a worker computes on one GPU"),
        (["srem_ablation", "--out", "file/run"], "cannot write to --out 'file/run'"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, refuse: Refuse, words: list[str], message: str) -> None:
    (tmp_path / "file").touch()
    refuse(words, message)


def test_data_that_cannot_be_used_is_one_line(here: Path, tmp_path: Path, refuse: Refuse) -> None:
    lonely = tmp_path / "lonely"
    (lonely / "images").mkdir(parents=True)
    rows = ["path,label,split"]
    for name, data in list_images():
        split = "test" if name.endswith("2") else "train"
        if name != "b1":  # so that class b has one image to train on
            rows.append(f"images/{name}.jpg,{name[0]},{split}")
            (lonely / "images" / f"{name}.jpg").write_bytes(data)
    (lonely / "split.csv").write_text("\n".join(rows))
    assert commands.run_app(ingest.app, "folder", lonely, tmp_path / "shards") in (0, None)
    refuse(["srem_ablation", "--data", "shards"], "class 'b' of data set 'lonely' has one training image")

    cut = tmp_path / "cut"
    cut.mkdir()
    for file in (here / "data").iterdir():
        (cut / file.name).write_bytes(file.read_bytes())
    shard = next(cut.glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])
    refuse(["srem_ablation", "--data", "cut"], shard.name)


def list_images() -> list[tuple[str, bytes]]:
    """Three images of each of two classes: a0, a1, a2, b0, b1, b2."""
    spec = synthetic.SyntheticSpec(classes=2, train_per_class=3, test_per_class=0, side=32)
    drawn = synthetic.draw_images(spec)
    return [(f"{'ab'[label]}{index}", shards.encode_jpeg(Image.fromarray(array))) for _, label, index, array in drawn]


def test_wrong_input_starts_no_ray(tmp_path: Path) -> None:
    done = commands.run_python(["-m", "raysearch.sweep"], "srem_ablatio")
    assert done.returncode == 2
    assert done.stderr == "error: unknown study 'srem_ablatio'; did you mean 'srem_ablation'?\n"
    assert not done.stdout


def test_an_address_where_nothing_listens_is_one_line(here: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = sweep(here, "nobody/run", "--address", f"127.0.0.1:{port}")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "Traceback" not in output
    assert output.strip().splitlines()[-1].startswith(f"error: no Ray cluster answers at --address '127.0.0.1:{port}'")
    assert not cells(here / "nobody/run")
