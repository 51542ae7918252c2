"""The loop that runs inside each Ray Train worker: take a command, execute it and reply, until `Stop`."""

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from raysearch.engine.trials import device
from raysearch.engine.trials.image_source import ImageSource
from raysearch.engine.trials.mailbox import Begin, Flush, Reply, Step, Stop
from raysearch.engine.trials.running_cell import RunningCell, read_start
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.builders import BuildTask
from raysearch.tasks.user import UserCodeError

Agree = Callable[[str], bool]

_MAX_ERROR_LENGTH = 2000  # characters


def train_loop(config: dict[str, Any]) -> None:
    """Serve commands until `Stop`.

    Args:
        config: "mailbox" (actor), "build" (BuildTask), "source" (ImageSource), "threads" (of torch on a CPU), "gpus"
            (of the worker).

    Raises:
        DeviceLost: the device does not work, from the start or after an error.
        Exception: one rank of several cannot go on with its cell; the others may wait for it.
    """
    torch.set_num_threads(config["threads"])
    mailbox = config["mailbox"]
    worker = make_worker(config["source"], config["gpus"])
    number = 0
    reply: Reply | None = None

    def _agree(kind: str) -> bool:
        agreed: bool = ray.get(mailbox.agree.remote(worker.rank, kind))
        return agreed

    server = CellServer(config["build"], config["source"], worker, _agree)
    gc.freeze()  # see `device.free_memory`
    try:
        while True:
            number += 1
            next_command = mailbox.exchange.remote(worker.rank, number, reply)
            server.free_memory()  # while the reply travels
            command = ray.get(next_command)
            if isinstance(command, Stop):
                return
            reply = server.execute(command)
    finally:
        server.end_cell()
        gc.unfreeze()  # otherwise libraries warn of leaks when the process ends


class CellServer:
    """Executes commands, one cell after another. When a cell has ended, nothing refers to it any more.

    Args:
        build: makes a task.
        source: the source of the images; None for tasks that need none.
        worker: the worker, without a feed.
        agree: returns whether all workers of the group have met this error at the same command.

    Raises:
        DeviceLost: the worker's device does not work.
    """

    def __init__(
        self, build: BuildTask, source: ImageSource | None, worker: Worker, agree: Agree = lambda _: False
    ) -> None:
        device.check_device(worker.device, worker.gpu_share)
        device.limit_memory(worker.device, worker.gpu_share)
        self.worker = worker
        self._name = device.device_name(worker.device)
        self._build = build
        self._source = source
        self._agree = agree
        self._feed: Feed | None = None
        self._cell: RunningCell | None = None
        self._is_clean = True  # whether the memory of the last cell has been freed
        self._has_failed = False  # whether the last cell raised an error, which may be kept somewhere
        self._allocated = 0  # bytes of the device when the cell began

    def execute(self, command: Begin | Step | Flush) -> Reply:
        """Execute a command. An error of the cell is part of the reply.

        Raises:
            DeviceLost: the device does not work any more.
            MemoryTaken: the cell should be tried again in a new process.
            Exception: this rank alone cannot go on with the cell.
        """
        started = time.perf_counter()
        try:
            reply = self._answer(command)
        except Exception as error:
            self._check(error)
            reply = Reply({}, error=explain_error(error, self.worker.device), device=self._name)
        self._has_failed = reply.error is not None
        # Outside of the block above: there the traceback still refers to the cell.
        if self._has_failed or reply.metrics is not None:
            self.end_cell()
        return replace(reply, seconds=time.perf_counter() - started)

    def end_cell(self) -> None:
        """Drop the cell and end the pipelines of its images. A cell that has ended is dropped already."""
        if self._cell is not None:
            self._cell.close()
        self._cell = None
        if self._feed is not None:
            self._feed.close()
        self._feed = None

    def free_memory(self) -> None:
        """Free what the last cell has left, if it has ended since the last call."""
        if not self._is_clean and self._cell is None:
            device.free_memory(self.worker.device, settled=not self._has_failed)
            self._is_clean = True

    def _answer(self, command: Begin | Step | Flush) -> Reply:
        if isinstance(command, Begin):
            return self._begin(command)
        assert self._cell is not None
        if isinstance(command, Step):
            return self._cell.step()
        self._cell.flush()
        return Reply({})

    def _begin(self, command: Begin) -> Reply:
        self.end_cell()  # before the next one is built, so that two models never share the memory
        self.free_memory()
        self._is_clean = False
        images = self.worker.device_images.nbytes  # stay from cell to cell
        self._allocated = device.allocated_memory(self.worker.device) - images
        worker = self.worker
        if self._source is not None:
            self._feed = self._source.feed(command.data_set, command.config)
        if self._feed is not None:
            worker = replace(worker, feed=self._feed)
        if command.start:
            worker = replace(worker, start=read_start(command, worker))
        self._cell = RunningCell(command, self._build, worker)
        return self._cell.begun()

    def _check(self, error: Exception) -> None:
        """Raise unless the error is the cell's alone, so that this process can go on with another cell.

        A rank that fails alone leaves the others waiting in a collective: only a new group is safe. When all ranks
        have met the same error after the same number of collectives, none waits.
        """
        if device.is_out_of_memory(error):
            self.worker.device_images.drop()
        device.check_after(error, self.worker.device, self.worker.gpu_share, self._allocated)
        if self.worker.world_size > 1:
            kind = device.shared_kind(error)
            if kind is None and isinstance(error, UserCodeError):
                kind = "an error of the user's code"  # the device computes, as was just checked
            if kind is None or not self._agree(f"{kind} after {device.count_collectives()} collectives"):
                raise error


def explain_error(error: Exception, place: torch.device) -> str:
    """Return what went wrong in one line, with what to set when GPU memory was short.

    Args:
        error: raised by a cell.
        place: the device that it ran on.
    """
    if device.is_out_of_memory(error) and place.type == "cuda":
        total = torch.cuda.get_device_properties(place).total_memory / 2**30
        used = torch.cuda.max_memory_allocated(place) / 2**30
        return (
            f"out of GPU memory: {used:.1f} of {total:.1f} GiB used; set a smaller train.batch or data.side, "
            "or srem.regions=0, which saves a third"
        )
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_MAX_ERROR_LENGTH]


def make_worker(source: ImageSource | None, gpus: float) -> Worker:
    """Return this process as a worker that has no images yet.

    Args:
        source: the source of the images; None for tasks that need none.
        gpus: GPUs that the worker has; below 1 a part of one.
    """
    context = ray.train.get_context()
    return Worker(
        feed=None,  # type: ignore[arg-type]  # each cell brings its own
        cache=source.cache if source else Path(),
        device=ray.train.torch.get_device(),
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        gpu_share=gpus if 0 < gpus < 1 else 1.0,
    )
