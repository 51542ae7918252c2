"""A user's function in ways that need a real Ray: two workers of a cell, a search, and a submitted job."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from raysearch.engine.cluster import connection
from raysearch.runs import checkpoints, results

from .engine.heads import RAY, Head
from .test_user_study import _finish, _sweep

STEPS = 4
WORKERS = """
import torch
from torch import nn

from raysearch import Ablation, factor


def train(run):
    model = nn.Linear(3, run.config["width"])
    wrapped = run.wrap(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in run.steps(4):
        batch = torch.randn(8, 3, generator=torch.Generator().manual_seed(100 * run.seed + step))
        loss = (wrapped(batch[run.rank :: run.world_size]) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.report({"loss": loss, "reporter": run.rank}, {"model": model.state_dict(), "rank": run.rank})
    if run.rank == 0:
        (run.out / "note.txt").write_text(f"{run.world_size} workers")
    return {"weight": model.weight.detach().sum(), "returned_by": run.rank}


study = Ablation("Does width matter?", train, {"width": 2}, [factor("width", 2, 5)], metric="weight", seeds=1)
"""
SEARCH = """
from helpers import best_width  # a file beside the study
from ray import tune

from raysearch import Search


def train(run):
    quality = 1 - abs(run.config["width"] - best_width()) / 10
    for step in run.steps(run.config["epochs"]):
        run.report({"quality_validation": quality * (step + 1) / 9}, {"step": step})
    return {"quality": quality + run.seed / 1000}


study = Search("Which width?", train, {"width": tune.choice([1, 4, 7, 9])}, base={"epochs": 9}, reference={"width": 1},
               objective="quality_validation", judge_metric="quality", trials=8, judge_seeds=3)
"""
JOB = """
from pathlib import Path

import helpers  # a file beside the study

from raysearch import Ablation, factor


def train(run):
    (run.out / "place.txt").write_text(f"{__file__} {helpers.__file__}")
    return {"score": run.config["width"] + helpers.best_width()}


study = Ablation("Does width matter?", train, {"width": 2}, [factor("width", 2, 5)], metric="score", seeds=1)
"""
TOKEN = "a1" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder outside the checkout, with a module that studies import."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "helpers.py").write_text("def best_width():\n    return 7\n")
    return folder


def _run(study: Path, out: Path, *words: str) -> str:
    """Run a sweep to its end, and return what it printed."""
    process = _sweep(study, out, *words)
    try:
        return _finish(process)
    finally:
        process.kill()
        process.wait()


def _rows(out: Path) -> dict[str, dict[str, Any]]:
    return {row["variant"]: row for row in results.load(out).to_pylist()}


def _weight_by_one_process(width: int) -> float:
    """Train as the study does, with whole batches: the mean gradient of two equal halves is that of the whole."""
    torch.manual_seed(0)
    model = nn.Linear(3, width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(STEPS):
        batch = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (model(batch) - 1).square().mean().backward()
        optimizer.step()
    return float(model.weight.detach().sum())


@pytest.mark.slow
def test_two_workers_share_a_cell_of_a_function(folder: Path, tmp_path: Path) -> None:
    (folder / "my_study.py").write_text(WORKERS)
    out = tmp_path / "runs" / "workers"
    _run(folder / "my_study.py", out, "--workers", "2")
    rows = _rows(out)
    assert len(rows) == 2
    for variant, width in (("reference", 2), ("width=5", 5)):
        row = rows[variant]
        assert (row["status"], row["attempts"], row["returned_by"]) == ("finished", 1, 0)
        assert row["weight"] == pytest.approx(_weight_by_one_process(width), rel=1e-5)
        assert [(step["iteration"], step["reporter"]) for step in json.loads(row["history"])] == [
            (number, 0) for number in range(1, STEPS + 1)
        ]
        data = checkpoints.Checkpoints(str(out / checkpoints.FOLDER), row["cell"]).read()
        assert data is not None
        saved = checkpoints.decode_state(data, torch.device("cpu"))["task"]
        assert (saved["done"], saved["state"]["rank"]) == (STEPS, 0)
        assert float(saved["state"]["model"]["weight"].sum()) == row["weight"]
        files = sorted(path.name for path in (out / checkpoints.FOLDER / row["cell"]).rglob("*") if path.is_file())
        assert files == ["attempts.json", "newest.pt", "note.txt"]


@pytest.mark.slow
def test_a_search_stops_configs_of_a_function_early_and_judges_the_best(folder: Path, tmp_path: Path) -> None:
    (folder / "my_search.py").write_text(SEARCH)
    out = tmp_path / "runs" / "search"
    text = _run(folder / "my_search.py", out)
    rows = results.load(out).to_pylist()
    searched = [row for row in rows if row["stage"] == "search"]
    judged = [row for row in rows if row["stage"] == "judge"]
    assert {row["status"] for row in searched} == {"finished", "stopped"}
    for row in searched:
        curve = [step["quality_validation"] for step in json.loads(row["history"])]
        quality = 1 - abs(row["width"] - 7) / 10
        assert curve == pytest.approx([quality * number / 9 for number in range(1, len(curve) + 1)])
        assert (len(curve) == 9) == (row["status"] == "finished")
    best = max((row for row in searched if row["status"] == "finished"), key=lambda row: row["quality_validation"])
    expected = 1 - abs(best["width"] - 7) / 10
    winners = [row for row in judged if row["width"] == best["width"]]
    assert len(winners) == 3
    assert {row["seed"] for row in winners}.isdisjoint({row["seed"] for row in searched})
    assert [row["quality"] for row in winners] == pytest.approx([expected + row["seed"] / 1000 for row in winners])
    assert f"width={best['width']}" in text


@pytest.mark.slow
def test_a_study_of_a_function_is_submitted_as_a_job(folder: Path, tmp_path: Path) -> None:
    """To a head that requires a token; the job's working directory is a copy of the folder."""
    (folder / "my_study.py").write_text(JOB)
    token = tmp_path / "auth_token"
    token.write_text(TOKEN)
    port = connection.free_port()
    words = ["--num-cpus", "1", "--include-dashboard", "true", "--dashboard-host", "127.0.0.1"]
    words += ["--dashboard-port", str(port), "--dashboard-agent-listen-port", str(connection.free_port())]
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    out = tmp_path / "runs" / "job"
    sweep = [sys.executable, "-m", "raysearch.sweep", "my_study.py", "--out", str(out)]
    with Head(*words, settings=settings) as head:
        job = _submit(head, f"http://127.0.0.1:{port}", folder, sweep)
    assert job.returncode == 0, job.stdout + job.stderr
    assert "report: " in job.stdout
    rows = _rows(out)
    assert {name: (row["status"], row["score"]) for name, row in rows.items()} == {
        "reference": ("finished", 9.0),
        "width=5": ("finished", 12.0),
    }
    for row in rows.values():
        place = (out / checkpoints.FOLDER / row["cell"] / "files" / "place.txt").read_text()
        assert str(folder) not in place
        assert place.count("my_study.py") == place.count("helpers.py") == 1


def _submit(head: Head, address: str, folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Submit a job with a working directory, and wait for its end. The agent that runs jobs starts late."""
    deadline = time.monotonic() + 120
    while True:
        words = [RAY, "job", "submit", "--address", address, "--working-dir", str(folder), "--", *command]
        job = subprocess.run(words, env=head.environment, cwd="/", capture_output=True, text=True, timeout=400)
        if "No available agent" not in job.stderr or time.monotonic() > deadline:
            return job
