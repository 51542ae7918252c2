"""Checkpoints that a thread writes: snapshots, failures that are reported, and kills at any moment."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from raysearch.core import UserError
from raysearch.runs.checkpoint_writer import CheckpointWriter
from raysearch.runs.checkpoints import BEST, NEWEST, CheckpointFiles, Checkpoints, decode_state
from raysearch.storage import Location

CPU = torch.device("cpu")

# It trains: each step changes all tensors in place, and the state tells whether it is of one step.
TRAIN = """
import sys, torch
from raysearch.runs.checkpoint_writer import CheckpointWriter
from raysearch.runs.checkpoints import Checkpoints
weights = torch.zeros(300_000)
writer = CheckpointWriter(Checkpoints(sys.argv[1], "cell"))
for step in range(1, 10_000):
    weights.fill_(step)
    writer.save({"task": {"weights": weights, "step": step}}, best=step % 3 == 1)
    print(step - 1, flush=True)  # `save` has waited for the checkpoint before
"""


def read(location: str | Path, name: str | None = None) -> dict[str, Any]:
    data = CheckpointFiles(str(location), "cell").read(name) if name else Checkpoints(str(location), "cell").read()
    assert data is not None
    return decode_state(data, CPU)["task"]


def test_a_kill_at_any_moment_leaves_the_newest_checkpoint(tmp_path: Path) -> None:
    rng = random.Random(0)
    for number in range(6):
        folder = tmp_path / str(number)
        with subprocess.Popen([sys.executable, "-c", TRAIN, str(folder)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            written = int(process.stdout.readline())
            deadline = time.monotonic() + 0.2 * rng.random()
            while written < 2 or time.monotonic() < deadline:
                written = int(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
            written = max([written, *map(int, process.stdout.read().split("\n")[:-1])])
        # The newest file itself is whole, without the best one to fall back to.
        state = read(folder, NEWEST)
        assert written <= state["step"] <= written + 1
        assert torch.equal(state["weights"], torch.full((300_000,), float(state["step"])))
        best = read(folder, BEST)
        assert best["step"] % 3 == 1
        assert torch.equal(best["weights"], torch.full((300_000,), float(best["step"])))


class SlowFiles(Checkpoints):
    """Waits before it writes, until it may."""

    is_local = False

    def __init__(self, storage: str) -> None:
        super().__init__(storage, "cell")
        self.may_write = threading.Event()
        self.serialized = 0

    def save(self, state: dict[str, Any], best: bool) -> None:
        assert self.may_write.wait(30)
        self.serialized += 1
        super().save(state, best)


def test_a_checkpoint_is_a_snapshot(tmp_path: Path) -> None:
    files = SlowFiles(str(tmp_path))
    writer = CheckpointWriter(files)
    weights = torch.zeros(3)
    moments = {"0": {"exp_avg": torch.zeros(2), "step": 1}}
    history = [1.0]
    parameter = torch.nn.Parameter(torch.zeros(2))
    task = {"weights": weights, "view": weights[1:], "moments": moments, "history": history, "parameter": parameter}
    writer.save({"task": task}, best=False)
    weights.fill_(5.0)  # the next step
    moments["0"]["exp_avg"].fill_(5.0)  # type: ignore[attr-defined]
    moments["0"]["step"] = 2
    history.append(2.0)
    parameter.data.fill_(5.0)
    files.may_write.set()
    writer.wait()
    state = read(tmp_path)
    assert state["weights"].tolist() == [0.0, 0.0, 0.0]
    assert state["view"].tolist() == [0.0, 0.0]
    assert state["moments"] == {"0": {"exp_avg": pytest.approx(torch.zeros(2)), "step": 1}}
    assert state["history"] == [1.0]
    assert state["parameter"].tolist() == [0.0, 0.0]


def test_a_snapshot_keeps_every_bit_and_layout(tmp_path: Path) -> None:
    values = {
        "nhwc": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 4).T,
        "half": torch.randn(5, dtype=torch.bfloat16),
        "nan": torch.tensor([float("nan"), -0.0]),
        "bytes": torch.Generator().get_state(),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(7),
        "plain": (1, "text", None, [2.5, {"a": True}]),
    }
    writer = CheckpointWriter(Checkpoints(str(tmp_path), "cell"))
    writer.save({"task": values}, best=True)
    writer.wait()
    state = read(tmp_path)
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            assert state[name].dtype == value.dtype
            assert state[name].stride() == value.stride()
            assert (
                state[name].numpy(force=True).tobytes() == value.numpy(force=True).tobytes()
                if (value.dtype != torch.bfloat16)
                else torch.equal(state[name], value)
            )
        else:
            assert state[name] == value


def test_training_does_not_wait_for_the_store(tmp_path: Path) -> None:
    files = SlowFiles(str(tmp_path))
    writer = CheckpointWriter(files)
    writer.save({"task": {"step": 1}}, best=False)  # returns although nothing may be written
    writer.check()
    second = threading.Thread(target=writer.save, args=({"task": {"step": 2}}, False))
    second.start()
    second.join(0.2)
    assert second.is_alive(), "the second waits for the first"
    files.may_write.set()
    second.join(30)
    writer.close()
    assert read(tmp_path)["step"] == 2


class FailingFiles(Checkpoints):
    is_local = False

    def save(self, state: dict[str, Any], best: bool) -> None:
        raise UserError("cannot reach 's3://bucket/run': the host does not answer")


def test_a_failure_of_the_store_is_reported_by_whatever_comes_next(tmp_path: Path) -> None:
    for following in ("save", "check", "wait", "close"):
        writer = CheckpointWriter(FailingFiles(str(tmp_path), "cell"))
        writer.save({"step": 1}, best=False)
        while following == "check" and not writer._pending.done():  # type: ignore[union-attr]
            time.sleep(0.01)
        with pytest.raises(UserError, match="the host does not answer"):
            writer.save({"step": 2}, best=False) if following == "save" else getattr(writer, following)()
        if following != "save":
            writer.close()  # reported once


@pytest.mark.parametrize("kind", ["path", "uri", "fsspec"])
def test_the_best_state_is_serialized_and_sent_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = {"path": str(tmp_path), "uri": tmp_path.as_uri(), "fsspec": f"memory://{tmp_path.name}/run"}[kind]
    saves: list[str] = []
    writes: list[str] = []
    save = torch.save
    write = Location.write
    monkeypatch.setattr(torch, "save", lambda *arguments: (saves.append(""), save(*arguments)))
    monkeypatch.setattr(Location, "write", lambda self, data: (writes.append(self.name), write(self, data)))
    kept = Checkpoints(location, "cell")
    for step in (1, 2):
        kept.save({"task": {"step": step}}, best=True)
    assert (len(saves), len(writes)) == (2, 2)
    kept.save({"task": {"step": 3}}, best=False)
    assert read(location, BEST)["step"] == 2
    assert read(location, NEWEST)["step"] == 3


def test_a_file_system_without_links_gets_the_file_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def _refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", _refuse)
    Checkpoints(str(tmp_path), "cell").save({"task": {"step": 1}}, best=True)
    assert read(tmp_path, BEST)["step"] == read(tmp_path, NEWEST)["step"] == 1
    assert sorted(path.name for path in (tmp_path / "cell").iterdir()) == [BEST, NEWEST]


@pytest.fixture(autouse=True, scope="module")
def empty_memory():
    yield
    fsspec.filesystem("memory").store.clear()
