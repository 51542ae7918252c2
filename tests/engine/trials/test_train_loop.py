"""Cells one after another in one process: what stays of them, and which errors end the process."""

import errno
import gc
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import ray.train.torch
import torch

from raysearch.core import UserError, WriteError
from raysearch.engine.trials import device, running_cell
from raysearch.engine.trials.device import DeviceLost, MemoryTaken, MemoryUse
from raysearch.engine.trials.mailbox import Begin, Flush, Reply, Step
from raysearch.engine.trials.train_loop import CellServer, explain_error, make_worker
from raysearch.engine.trials.worker_group import GroupSpec
from raysearch.runs.checkpoints import Checkpoints
from raysearch.tasks.base import NonFiniteLoss, Worker
from raysearch.tasks.user import explain_user_error

CPU = torch.device("cpu")
GIB = 2**30


class Cyclic:
    """A task that refers to itself, as a task with a closure does. It raises `error` in its first step."""

    steps = 2
    metric_ids: ClassVar = {"map": "none"}
    alive: ClassVar[weakref.WeakSet["Cyclic"]] = weakref.WeakSet()
    error: ClassVar[Exception | None] = None

    def __init__(self, config: Any, seed: int, worker: Worker) -> None:
        assert not self.alive, "two models share the memory"
        self.alive.add(self)
        self.myself = self
        self.start = worker.start

    def advance(self) -> dict[str, Any]:
        table = torch.zeros(10)
        self.alive_table = weakref.ref(table)
        if type(self).error is not None:
            raise type(self).error
        return {"loss": 0.0}

    def evaluate(self) -> dict[str, float]:
        return {"map": 0.0}

    def state_dict(self) -> dict[str, Any]:
        return {"done": 1}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@pytest.fixture(autouse=True)
def none_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of earlier tests do not count."""
    monkeypatch.setattr(Cyclic, "alive", weakref.WeakSet())


@pytest.fixture
def server() -> Iterator[CellServer]:
    gc.collect()
    gc.disable()
    try:
        yield CellServer(Cyclic, None, Worker(None, Path()))  # type: ignore[arg-type]
    finally:
        gc.enable()
        gc.unfreeze()


def begin(cell: str = "a", storage: Path | None = None) -> Begin:
    return Begin(cell, {}, 0, str(storage) if storage else None)


def run_cell(server: CellServer) -> Reply:
    """Run a cell to its end as the loop does, and free its memory while the reply travels."""
    reply = server.execute(begin())
    while reply.error is None and reply.metrics is None:
        server.free_memory()
        assert len(Cyclic.alive) == 1, "a running cell stays"
        reply = server.execute(Step())
    server.free_memory()
    return reply


def test_nothing_stays_of_a_finished_cell(server: CellServer) -> None:
    for _ in range(3):
        assert run_cell(server).metrics == {"map": 0.0}
        assert not Cyclic.alive


@pytest.mark.parametrize(
    "error",
    [ArithmeticError("planted"), NonFiniteLoss("the loss became nan"), torch.OutOfMemoryError("CUDA out of memory")],
    ids=lambda error: type(error).__name__,
)
def test_nothing_stays_of_a_failed_cell(server: CellServer, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cyclic, "error", error)
    reply = run_cell(server)
    assert str(error) in (reply.error or "")
    error.__traceback__ = None  # this test's own reference
    gc.collect()
    assert not Cyclic.alive
    monkeypatch.setattr(Cyclic, "error", None)
    assert run_cell(server).metrics == {"map": 0.0}


def test_nothing_stays_of_a_stopped_cell_when_the_next_begins(server: CellServer) -> None:
    """The task asserts that it is alone."""
    for cell in "abc":
        assert server.execute(begin(cell)).error is None
        assert server.execute(Step()).error is None


def test_what_was_loaded_before_is_not_looked_through_again(server: CellServer) -> None:
    """A collection of the whole process takes longer than a small cell."""
    assert run_cell(server).metrics
    assert len(gc.get_objects()) < 20_000 < gc.get_freeze_count()


def test_the_reply_names_the_device(server: CellServer) -> None:
    assert server.execute(begin()).device == "cpu"
    assert server.execute(Step()).device == "cpu"


def test_a_failure_of_the_store_fails_a_later_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step does not wait for its checkpoint, and no failure is lost."""

    def _fail(self: Checkpoints, state: Any, best: bool) -> None:
        raise WriteError(errno.ENOSPC, "No space left on device", "newest.pt")

    monkeypatch.setattr(Checkpoints, "is_local", False)
    monkeypatch.setattr(Checkpoints, "save", _fail)
    server = CellServer(Cyclic, None, Worker(None, tmp_path))  # type: ignore[arg-type]
    server.execute(begin(storage=tmp_path))
    replies = [server.execute(Step())]
    while replies[-1].error is None and len(replies) < 2:
        replies.append(server.execute(Step()))
    assert replies[0].report == {"loss": 0.0}
    assert "WriteError: cannot write 'newest.pt': No space left on device" in (replies[-1].error or "")


def test_a_flush_waits_for_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that a scheduler pauses copies the newest state, which must be that of its last step."""
    save = Checkpoints.save
    monkeypatch.setattr(Checkpoints, "is_local", False)
    monkeypatch.setattr(Checkpoints, "save", lambda *arguments: (time.sleep(0.2), save(*arguments)))
    server = CellServer(Cyclic, None, Worker(None, tmp_path))  # type: ignore[arg-type]
    server.execute(begin(storage=tmp_path))
    server.execute(Step())
    assert Checkpoints(str(tmp_path), "a").read() is None
    assert server.execute(Flush()).error is None
    assert Checkpoints(str(tmp_path), "a").read() is not None


def test_a_cell_that_continues_names_all_its_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = CellServer(Cyclic, None, Worker(None, tmp_path))  # type: ignore[arg-type]
    server.execute(begin(storage=tmp_path))
    server.execute(Step())
    server.end_cell()
    server.free_memory()
    monkeypatch.setattr(running_cell, "device_name", lambda place: "NVIDIA L4")
    server = CellServer(Cyclic, None, Worker(None, tmp_path))  # type: ignore[arg-type]
    assert server.execute(begin(storage=tmp_path)).device == "NVIDIA L4 + cpu"


@pytest.fixture
def group_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process group of this process alone, in which a worker may take itself for one of two."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.parametrize(
    ("error", "all_agree", "fails_alone"),
    [
        (ZeroDivisionError("in the user's file"), True, True),
        (ZeroDivisionError("in the user's file"), False, False),
        (UserError("k is too large"), True, True),
    ],
)
def test_an_error_of_user_code_on_all_ranks_fails_the_cell_and_not_the_group(
    error: Exception, all_agree: bool, fails_alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    agree = lambda kind: asked.append(kind) or all_agree  # noqa: E731
    monkeypatch.setattr(Cyclic, "error", explain_user_error(error))
    server = CellServer(Cyclic, None, Worker(None, Path(), world_size=2), agree)  # type: ignore[arg-type]
    server.execute(begin())
    if fails_alone:
        assert server.execute(Step()).error == f"{type(error).__name__}: {error}"
    else:
        with pytest.raises(Exception, match="in the user's file"):
            server.execute(Step())
        server.end_cell()
    assert len(asked) == 1
    assert " after " in asked[0]


class BrokenDevice(torch.overrides.TorchFunctionMode):
    """A device whose every call fails, as all of CUDA's do after an illegal access."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with `TORCH_USE_CUDA_DSA`")


def test_a_broken_device_starts_no_group() -> None:
    worker = Worker(None, Path())  # type: ignore[arg-type]
    with (
        BrokenDevice(),
        pytest.raises(DeviceLost, match=r"the device cpu on .* does not compute: .* illegal memory access"),
    ):
        CellServer(Cyclic, None, worker)


def test_a_device_that_computes_wrongly_starts_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda left, right: left)
    with pytest.raises(DeviceLost, match="computes wrongly"):
        device.check_device(CPU)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceLost),
        (ValueError("anything"), DeviceLost),
        (NonFiniteLoss("nan"), None),
        (UserError("classes too small"), None),
        (torch.OutOfMemoryError("CUDA out of memory"), None),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), None),
    ],
)
def test_after_an_unexpected_error_the_device_is_checked(error: Exception, expected: type[Exception] | None) -> None:
    device.check_after(error, CPU, 1.0, allocated_before=0)  # the device works: the error is the cell's
    with BrokenDevice():
        if expected is None:
            device.check_after(error, CPU, 1.0, allocated_before=0)
        else:
            with pytest.raises(expected):
                device.check_after(error, CPU, 1.0, allocated_before=0)


def test_an_error_of_the_accelerator_loses_the_device_at_once() -> None:
    with pytest.raises(DeviceLost, match=r"was lost: AcceleratorError: CUDA error: unspecified launch failure$"):
        device.check_after(torch.AcceleratorError("CUDA error: unspecified launch failure\nadvice"), CPU, 1.0, 0)


@pytest.mark.parametrize(
    ("use", "before", "expected"),
    [
        (MemoryUse(24 * GIB, 0, 23 * GIB), 0, None),
        (MemoryUse(24 * GIB, 0, 23 * GIB), GIB, "of which 1.0 GiB were taken before the cell began"),
        (MemoryUse(24 * GIB, 0, 10 * GIB), 0, "while other processes hold 14.0 of 24.0 GiB"),
        (MemoryUse(24 * GIB, GIB, 11 * GIB, share=0.5), 0, None),
        (MemoryUse(24 * GIB, 0, 8 * GIB, share=0.5), 0, "while other processes hold 16.0 of 24.0 GiB"),
    ],
    ids=["the cell's own", "an earlier cell's", "another process", "its half is full", "the half of another is not"],
)
def test_whose_fault_it_is_that_memory_is_short(
    use: MemoryUse, before: int, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "memory_use", lambda place, share: use)
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if expected is None:
        device.check_after(error, CPU, use.share, before)
    else:
        with pytest.raises(MemoryTaken, match=expected):
            device.check_after(error, CPU, use.share, before)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("NCCL Error 1: unhandled cuda error: Failed to CUDA calloc: 'out of memory'"),
    ],
)
def test_every_failed_allocation_is_explained(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        total_memory = 24 * GIB

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda place: Properties)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda place: 23 * GIB)
    text = explain_error(error, torch.device("cuda:0"))
    assert text.startswith("out of GPU memory: 23.0 of 24.0 GiB used; set a smaller train.batch")


@pytest.mark.parametrize(("gpus", "share"), [(0, 1.0), (0.25, 0.25), (1, 1.0)])
def test_a_worker_knows_its_part_of_a_gpu(gpus: float, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(get_world_rank=lambda: 1, get_world_size=lambda: 2)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: CPU)
    worker = make_worker(None, gpus)
    assert (worker.gpu_share, worker.rank, worker.world_size) == (share, 1, 2)


def test_memory_of_a_gpu_does_not_fragment_unless_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "PYTORCH_CUDA_ALLOC_CONF"
    monkeypatch.delenv(name, raising=False)
    specs = [GroupSpec("0" * 32, Cyclic, None, gpus=gpus) for gpus in (0.0, 0.5)]
    assert [spec.runtime_environment() for spec in specs] == [{}, {"env_vars": {name: "expandable_segments:True"}}]
    monkeypatch.setenv(name, "backend:cudaMallocAsync")
    assert specs[1].runtime_environment() == {"env_vars": {name: "backend:cudaMallocAsync"}}


def test_a_part_of_a_gpu_is_a_part_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[float, torch.device]] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *limit: limits.append(limit))
    for name, share in (("cuda:1", 0.5), ("cuda:0", 1.0), ("cpu", 0.5)):
        device.limit_memory(torch.device(name), share)
    assert limits == [(pytest.approx(0.475), torch.device("cuda:1"))]
