"""A study of a user's function in a real Ray: its code reaches the workers, and a kill changes no number."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from raysearch.runs import results

SECONDS = 600.0  # for a sweep on a busy machine
RAY_AGENTS = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
STUDY = """
import time

import torch
from helpers import load_images  # a file beside the study
from torch import nn

from raysearch import Ablation, factor


def train(run):
    images, labels = load_images()
    model = nn.Linear(images.shape[1], run.config["width"])
    head = nn.Linear(run.config["width"], 10)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    if run.state:
        model.load_state_dict(run.state["model"])
        head.load_state_dict(run.state["head"])
        optimizer.load_state_dict(run.state["optimizer"])
    if run.config["width"] == 0:
        raise ValueError("no width")
    for step in run.steps(8):
        rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(100 * run.seed + step))[:40]
        loss = nn.functional.cross_entropy(head(model(images[rows]).relu()), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(PAUSE)
        state = {"model": model.state_dict(), "head": head.state_dict(), "optimizer": optimizer.state_dict()}
        run.report({"loss": loss}, state)
    (run.out / "note.txt").write_text(f"seed {run.seed}")
    right = head(model(images).relu()).argmax(1) == labels
    return {"accuracy": right.float().mean(), "elsewhere": float(__name__ != "my_study")}


study = Ablation(
    question="Does width matter?",
    task=train,
    base={},
    reference={"width": 8},
    factors=[factor("width", 2, 8)],
    metric="accuracy",
    seeds=2,
)
"""
HELPERS = '''
import torch


def load_images():
    """Return images (200, 64) of ten glyphs under noise, and their labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (200,), generator=generator)
    return torch.rand(10, 64, generator=generator)[labels] + 0.3 * torch.randn(200, 64, generator=generator), labels
'''
DIGITS = '''
import torch
from sklearn.datasets import load_digits


def load_images():
    """Return scikit-learn's images of digits (1797, 64), and their labels."""
    digits = load_digits()
    return torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
'''


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study file outside the checkout, with the module that it imports."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "my_study.py").write_text(STUDY.replace("PAUSE", "0.0"))
    (folder / "helpers.py").write_text(HELPERS)
    return folder / "my_study.py"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Two nodes that start in another folder than the study's."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()
        yield nodes.address
    finally:
        ray.shutdown()
        nodes.shutdown()


def _sweep(study: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "raysearch.sweep", study.name, "--out", str(out), *words]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(
        command, cwd=study.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _finish(process: subprocess.Popen[str], code: int = 0) -> str:
    text, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == code, text
    return text


def _watch_actors(sweep: subprocess.Popen[str], titles: dict[int, set[str]], with_torch: set[int]) -> None:
    """Note what Ray's processes of a sweep work on, until it ends.

    Args:
        sweep: the driver of a local Ray.
        titles: process -> its titles, such as `ray::Mailbox.ready`; it is filled.
        with_torch: processes that have torch in memory; it is filled.
    """
    while sweep.poll() is None:
        for process in _descendants(sweep.pid):
            with contextlib.suppress(psutil.Error, OSError, IndexError):
                title = process.cmdline()[0]
                if title.startswith("ray::") and title not in RAY_AGENTS:
                    titles.setdefault(process.pid, set()).add(title)
                    if "libtorch" in Path(f"/proc/{process.pid}/maps").read_text():
                        with_torch.add(process.pid)
        time.sleep(0.1)


def _kind(titles: set[str]) -> str:
    """Return the kind of an actor by its process's titles; the titles where it is none of raysearch's."""
    kinds = {"CellTrial": "trial", "ResourceTrainable": "trial", "Mailbox": "mailbox", "RayTrainWorker": "worker"}
    return next((kind for name, kind in kinds.items() if any(name in title for title in titles)), str(sorted(titles)))


def _descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def _numbers(out: Path) -> dict[tuple[str, int], Any]:
    """Return the metrics and the learning curve of each cell."""
    rows = results.load(out).to_pylist()
    curves = {(row["variant"], row["seed"]): [step["loss"] for step in json.loads(row["history"])] for row in rows}
    return {(row["variant"], row["seed"]): (row["accuracy"], curves[row["variant"], row["seed"]]) for row in rows}


def test_a_study_of_a_function_runs_and_names_its_mistakes(study: Path, tmp_path: Path) -> None:
    study.write_text(study.read_text().replace('"width", 2, 8', '"width", 0, 2, 8'))
    line = next(number for number, text in enumerate(study.read_text().splitlines(), 1) if "no width" in text)
    out = tmp_path / "runs" / "whole"
    sweep = _sweep(study, out)
    titles: dict[int, set[str]] = {}
    with_torch: set[int] = set()
    watcher = threading.Thread(target=_watch_actors, args=(sweep, titles, with_torch))
    watcher.start()
    text = _finish(sweep)
    watcher.join()
    # Only workers need torch, whose import takes seconds, and none of Ray Train's helpers is started.
    kinds = {process: _kind(names) for process, names in titles.items()}
    assert set(kinds.values()) == {"trial", "mailbox", "worker"}
    assert {kinds[process] for process in with_torch} == {"worker"}
    rows = {(row["variant"], row["seed"]): row for row in results.load(out).to_pylist()}
    assert len(rows) == 6
    for (variant, _), row in rows.items():
        assert row["status"] == ("failed" if variant == "width=0" else "finished")
        if variant == "width=0":
            assert row["error"] == f"ValueError: no width (my_study.py, line {line}, in train)"
        else:
            assert row["elsewhere"] == 1.0
            assert len(json.loads(row["history"])) == 8
    assert "accuracy@my_study.py:train" in text
    assert (out / "report.html").stat().st_size > 100_000
    notes = sorted(path.read_text() for path in (out / "checkpoints").glob("*/files/note.txt"))
    assert notes == ["seed 0", "seed 0", "seed 1", "seed 1"]


@pytest.mark.slow
def test_a_killed_study_on_two_nodes_ends_with_the_numbers_of_an_undisturbed_one(
    study: Path, tmp_path: Path, cluster: str
) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, whose digits are the images, is not installed")
    (study.parent / "helpers.py").write_text(DIGITS)
    whole = tmp_path / "a" / "whole"
    _finish(_sweep(study, whole, "--address", cluster))

    study.write_text(study.read_text().replace("time.sleep(0.0)", "time.sleep(0.5)"))
    slow = tmp_path / "b" / "killed"
    process = _sweep(study, slow, "--address", cluster)
    _wait_for(lambda: any(slow.glob("cells/*.parquet")) and _newest(slow) > 1, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    before = {path.name: path.read_bytes() for path in slow.glob("cells/*.parquet")}
    assert 0 < len(before) < 4

    text = _finish(_sweep(study, slow, "--address", cluster))
    assert f"{4 - len(before)} to run" in text
    assert {name: (slow / "cells" / name).read_bytes() for name in before} == before
    assert _numbers(slow) == _numbers(whole)


def _newest(out: Path) -> int:
    """Return how many cells have a checkpoint."""
    return len(list(out.glob("checkpoints/*/newest.pt")))


def _wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the study did not come that far in time"
        time.sleep(0.05)
