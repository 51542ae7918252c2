"""The kind of device is known before cells are named; a stand-in takes the place of GPUs and clusters."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from raysearch.core import UserError
from raysearch.engine import devices
from raysearch.engine.cluster import capacity, connection
from raysearch.studies.configs import overrides
from raysearch.studies.design import CPU, GPU, Device
from raysearch.tasks import builders
from raysearch.tasks.base import Worker

OLD_GPU = Device("cuda", "float32")


@pytest.fixture
def join(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Replace the connection to a cluster; return the addresses that were joined."""
    joined: list[str | None] = []

    @contextlib.contextmanager
    def connected(address: str | None) -> Iterator[None]:
        joined.append(address)
        yield

    monkeypatch.setattr(connection, "connected", connected)
    return joined


@pytest.fixture
def old_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla T4")


@pytest.mark.parametrize(("count", "gpus"), [(0, 0.0), (1, 1.0), (4, 1.0)])
def test_on_this_machine_a_worker_has_a_gpu_if_there_is_one(
    count: int, gpus: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert devices.resolve_gpus(None, None) == gpus
    assert devices.resolve_gpus(0.25, None) == 0.25
    assert devices.resolve_gpus(0.0, None) == 0.0
    assert devices.study_device(0.0, None) == CPU


def test_an_old_gpu_of_this_machine_gives_its_precision(old_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert devices.study_device(1.0, None) == OLD_GPU
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    assert devices.study_device(0.5, None) == GPU


def test_a_gpu_that_torch_cannot_use_is_still_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: object = None) -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", fail)
    assert devices.study_device(1.0, None) == GPU


@pytest.mark.parametrize(
    ("accelerators", "device"),
    [(["T4"], OLD_GPU), (["T4", "V100"], OLD_GPU), (["L4", "T4"], GPU), (["A10G"], GPU), ([], GPU)],
)
def test_the_gpus_of_a_cluster_decide(
    accelerators: list[str], device: Device, join: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "has_gpu", lambda: True)
    monkeypatch.setattr(capacity, "hardware", lambda: {"accelerators": accelerators})
    assert devices.resolve_gpus(None, "10.0.0.1:6379") == 1.0
    assert devices.study_device(1.0, "10.0.0.1:6379") == device
    assert join == ["10.0.0.1:6379"] * 2
    assert devices.study_device(0.0, "10.0.0.1:6379") == CPU
    assert devices.resolve_gpus(2.0, "10.0.0.1:6379") == 2.0
    assert len(join) == 2, "nothing to ask for"


def test_a_cluster_that_does_not_answer_has_recent_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str | None) -> None:
        raise UserError("no Ray cluster answers")

    monkeypatch.setattr(connection, "connected", refuse)
    assert devices.study_device(1.0, "10.0.0.1:6379") == GPU
    with pytest.raises(UserError, match="no Ray cluster answers"):
        devices.resolve_gpus(None, "10.0.0.1:6379")


@pytest.mark.parametrize("task", ["retrieval", "fewshot", "pretrain"])
def test_a_worker_keeps_to_the_precision_of_the_name(task: str, old_gpu: None) -> None:
    worker = Worker(None, Path(), torch.device("cuda"))  # type: ignore[arg-type]
    config = overrides.resolve(task, {}).model_dump(mode="json")
    with pytest.raises(UserError, match="Tesla T4 computes in float32, and the study's cells are named for bfloat16"):
        builders.builder_for_workers(task, "bfloat16")(config, 0, worker)
    # It goes on where the name is right, and then finds no images.
    with pytest.raises(AttributeError):
        builders.builder_for_workers(task, "float32")(config, 0, worker)
    if task != "pretrain":
        config["train"]["precision"] = "float32"
        with pytest.raises(AttributeError):
            builders.builder_for_workers(task, "bfloat16")(config, 0, worker)


def test_a_cpu_has_no_precision_to_keep_to() -> None:
    worker = Worker(None, Path())  # type: ignore[arg-type]
    config = overrides.resolve("retrieval", {}).model_dump(mode="json")
    with pytest.raises(AttributeError):
        builders.builder_for_workers("retrieval", "float32")(config, 0, worker)
