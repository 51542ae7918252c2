"""A small task with planted faults. Its outcome depends on every step, the optimizer's state and a random state.

Each worker logs every step that it begins, so that a test sees which steps were done twice, by whom and when.
"""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
import ray
import torch

from raysearch.tasks.base import NonFiniteLoss, Worker

BATCH = 8
WIDTH = 5


class SmallTask:
    """Regression on drawn inputs to noisy targets, by SGD with momentum.

    Args:
        config: "cell" and "folder" of the log; "steps"; "pause", seconds a step takes; "faults", step -> what happens
            before it: "raise", "nan", "die" (SIGKILL), "sleep", "hold" (in a C call that lets no other thread run) or
            "sticky" (nothing can be computed in this process any more), each once in the life of the cell and on the
            last rank; "die always"; or "nan everywhere" and "memory everywhere", on all ranks.
        seed: of everything random.
        worker: what it runs on.
    """

    metric_ids: ClassVar = {"map": "squared length of the weights"}
    metric_steps: ClassVar = {"map": 0.25}

    def __init__(self, config: Mapping[str, Any], seed: int, worker: Worker) -> None:
        self._config = config
        self._worker = worker
        self.steps = config["steps"]
        self._done = 0
        self._generator = torch.Generator().manual_seed(seed)
        self._weights = torch.zeros(WIDTH, requires_grad=True)
        self._optimizer = torch.optim.SGD([self._weights], lr=0.05, momentum=0.9)

    def advance(self) -> dict[str, Any]:
        step = self._done + 1
        log(self._config, step, self._worker.rank)
        self._apply_fault(self._config.get("faults", {}).get(str(step)))
        time.sleep(self._config.get("pause", 0.0))
        inputs = torch.randn(BATCH, WIDTH, generator=self._generator)
        targets = inputs.sin().sum(1) + 0.1 * torch.randn(BATCH, generator=self._generator)
        inputs = self._worker.share(inputs)
        targets = self._worker.share(targets)
        loss = (inputs @ self._weights - targets).square().sum() / BATCH
        self._optimizer.zero_grad()
        loss.backward()
        self._worker.sum(self._weights.grad)
        self._optimizer.step()
        self._done = step
        return {"iteration": step, "loss": self._worker.sum(loss.detach()).item()}

    def evaluate(self) -> dict[str, float]:
        return {"map": self._weights.detach().double().square().sum().item()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "weights": self._weights.detach(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "done": self._done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self._weights.copy_(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"].cpu())
        self._done = state["done"]

    def _apply_fault(self, fault: str | None) -> None:
        if fault == "nan everywhere":
            raise NonFiniteLoss(f"the loss became nan in epoch {self._done + 1}")
        if fault == "memory everywhere":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if fault is None or self._worker.rank != self._worker.world_size - 1:
            return
        if fault != "die always":
            try:
                Path(self._config["folder"], f"{self._config['cell']}-{self._done}-{fault}").touch(exist_ok=False)
            except FileExistsError:
                return
        if fault == "raise":
            raise ArithmeticError("planted")
        if fault == "nan":
            raise NonFiniteLoss(f"the loss became nan in epoch {self._done + 1}")
        if fault == "sticky":
            break_device()
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if fault == "sleep":
            time.sleep(3600)
        if fault == "hold":
            ctypes.PyDLL(None).sleep(3600)
        os.kill(os.getpid(), signal.SIGKILL)


def break_device() -> None:
    """Make every product of matrices in this process fail, as every call of CUDA does after an illegal access."""

    def _fail(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    torch.Tensor.__matmul__ = _fail  # type: ignore[method-assign]


class BuildOnBrokenDevice:
    """Builds a `SmallTask`. Processes of workers that receive it cannot compute, on all nodes or on one.

    Args:
        folder: where the node is remembered.
        everywhere: on all nodes; otherwise on the first that has a worker.
    """

    def __init__(self, folder: str, everywhere: bool) -> None:
        self._folder = folder
        self._everywhere = everywhere

    def __call__(self, config: Mapping[str, Any], seed: int, worker: Worker) -> SmallTask:
        return SmallTask(config, seed, worker)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "RayTrainWorker" not in " ".join(psutil.Process().cmdline()):
            return
        node = ray.get_runtime_context().get_node_id()
        broken = Path(self._folder) / "broken"
        with contextlib.suppress(FileExistsError), broken.open("x") as file:
            file.write(node)
        if self._everywhere or broken.read_text() in (node, ""):
            break_device()


@dataclass(frozen=True)
class Entry:
    """A step that was begun."""

    cell: str
    step: int
    rank: int
    process: int
    time: float


def log(config: Mapping[str, Any], step: int, rank: int) -> None:
    # A line this short is written at once or not at all, also by several processes.
    with Path(config["folder"], "log").open("a") as file:
        file.write(f"{config['cell']} {step} {rank} {os.getpid()} {time.time()}\n")


def read_log(folder: Path) -> list[Entry]:
    """All steps that were begun, in order of time."""
    path = folder / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    words = [line.split() for line in lines]
    return [Entry(cell, int(step), int(rank), int(process), float(at)) for cell, step, rank, process, at in words]


def plain_run(config: Mapping[str, Any], seed: int, workers: int = 1) -> tuple[float, list[float]]:
    """The metric and the losses of an undisturbed run, written without the task: a sum of ranks is a sum."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.zeros(WIDTH)
    velocity = torch.zeros(WIDTH)
    losses = []
    for step in range(config["steps"]):
        inputs = torch.randn(BATCH, WIDTH, generator=generator)
        targets = inputs.sin().sum(1) + 0.1 * torch.randn(BATCH, generator=generator)
        gradient = torch.zeros(WIDTH)
        loss = torch.zeros(())
        for rank in range(workers):
            copy = weights.clone().requires_grad_()
            part = (inputs[rank::workers] @ copy - targets[rank::workers]).square().sum() / BATCH
            part.backward()
            gradient = gradient + copy.grad
            loss = loss + part.detach()
        velocity = gradient.clone() if step == 0 else velocity * 0.9 + gradient
        weights = weights.add(velocity, alpha=-0.05)  # one rounding, as torch does it
        losses.append(loss.item())
    return weights.double().square().sum().item(), losses
