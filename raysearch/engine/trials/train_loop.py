"""The loop that runs inside each Ray Train worker: take a command, execute it and reply, until `Stop`."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from raysearch.engine.cluster.image_placement import PlacedImages
from raysearch.engine.trials.mailbox import Begin, Reply, Step, Stop
from raysearch.runs.checkpoints import FILES, Checkpoints, decode_state
from raysearch.storage import Location
from raysearch.studies.configs import Images, replace_values
from raysearch.tasks.base import Feed, NonFiniteLoss, Task, Worker

BuildTask = Callable[[Mapping[str, Any], int, Worker], Task]  # (plain config, seed, worker) -> task

_MAX_ERROR_LENGTH = 2000  # characters


@dataclass(frozen=True)
class ImageSource:
    """Where a worker's images come from."""

    sets: dict[Images, PlacedImages]
    content_hash: str  # the data set's
    cache: Path  # folder of files that any process may share
    splits: dict[Images, str] = field(default_factory=dict)  # name and hash of a class-disjoint split

    def feed(self, config: Mapping[str, Any]) -> Feed:
        """Return the images that a cell's config asks for. Close them after the cell."""
        data = config["data"]
        key = Images(data["side"], data["zoom"], data.get("split"))
        images = self.sets[key].open()
        return Feed(**images, content_hash=self.content_hash, split=self.splits.get(key, ""))


def train_loop(config: dict[str, Any]) -> None:
    """Serve commands until `Stop`.

    Args:
        config: "mailbox" (actor), "build" (BuildTask), "source" (ImageSource), "threads" (of torch on a CPU).
    """
    torch.set_num_threads(config["threads"])
    rank = ray.train.get_context().get_world_rank()
    mailbox = config["mailbox"]
    source = config["source"]
    worker = _make_worker(source)
    number = 0
    reply: Reply | None = None
    cell: RunningCell | None = None
    while True:
        number += 1
        command = ray.get(mailbox.exchange.remote(rank, number, reply))
        if isinstance(command, Stop):
            _close_feed(worker)
            return
        started = time.perf_counter()
        try:
            if isinstance(command, Begin):
                cell = None  # before the next one is built, so that two models never share the memory
                if source is not None and source.sets:
                    _close_feed(worker)
                    worker = replace(worker, feed=source.feed(command.config))
                start = read_start(command, worker) if command.start else None
                files = files_of_cell(command)
                cell = RunningCell(command, config["build"], replace(worker, start=start, out=files))
                reply = cell.begun()
            else:
                assert isinstance(command, Step)
                assert cell is not None
                reply = cell.step()
        except Exception as error:
            cell = None
            _close_feed(worker)
            if worker.world_size > 1:
                raise  # other ranks may wait for this one in a collective: only a new group is safe
            reply = Reply({}, error=explain_error(error))
        reply = replace(reply, seconds=time.perf_counter() - started)


class RunningCell:
    """A task, its reports so far, and its checkpoints, which rank 0 writes.

    Args:
        command: the cell to begin.
        build: makes the task.
        worker: the worker that it runs on.
    """

    def __init__(self, command: Begin, build: BuildTask, worker: Worker) -> None:
        self._worker = worker
        self._objective = command.objective
        self._checkpoints = Checkpoints(command.storage, command.cell) if command.storage else None
        self._history: list[dict[str, Any]] = []
        self._seconds = 0.0
        self._best: float | None = None
        state = self._read_state(command)
        # The state holds what a population has changed so far; the command holds what it changes now.
        self._settings = {**(json.loads(state["settings"]) if state else {}), **command.settings}
        self._task = build(replace_values(command.config, self._settings), command.seed, worker)
        if state:
            self._task.load_state_dict(state["task"])
            # A user's function may have given no state with its last reports.
            self._history = json.loads(state["history"])[: getattr(self._task, "done", None)]
            self._seconds = state["seconds"]
            self._best = state["best"]

    def begun(self) -> Reply:
        """Return the reply to `Begin`: the number of steps, and the history of a cell that continues."""
        return Reply(
            {"steps": self._task.steps},
            history=self._history,
            spent=self._seconds,
            settings=self._settings,
        )

    def step(self) -> Reply:
        """Advance once and save a checkpoint; after the last step evaluate too.

        Raises:
            NonFiniteLoss: the loss became infinite or not a number.
        """
        started = time.perf_counter()
        if len(self._history) < self._task.steps:  # otherwise it was killed between the last step and its result
            advanced = self._task.advance()
            if advanced is None:  # it came to its end before
                return self._finish(self._history[-1] if self._history else {})
            report = advanced
            if not math.isfinite(report.get("loss", 0.0)):
                raise NonFiniteLoss(f"the loss became {report['loss']}")
            report |= self._settings  # learning curves of a population show the settings in force
            self._history.append(report)
            self._seconds += time.perf_counter() - started
            self._save(report)
        report = self._history[-1]
        if len(self._history) < self._task.steps:
            return Reply(report)
        return self._finish(report)

    def _finish(self, report: dict[str, Any]) -> Reply:
        """Evaluate the task, and return the last reply."""
        return Reply(report, metrics=self._evaluate(), metric_ids=self._task.metric_ids)

    def _evaluate(self) -> dict[str, Any]:
        """Return the task's metrics, with their steps if the task states any."""
        steps = getattr(self._task, "metric_steps", None)
        return self._task.evaluate() | ({"metric_steps": json.dumps(steps)} if steps else {})

    def _save(self, report: Mapping[str, Any]) -> None:
        """Write a checkpoint after a step, on rank 0."""
        if self._checkpoints is None or self._worker.rank != 0:
            return
        value = report.get(self._objective.metric) if self._objective else None
        is_best = value is not None and self._objective is not None and self._objective.is_better(value, self._best)
        self._best = value if is_best else self._best
        state = {
            "task": self._task.state_dict(),
            "history": json.dumps(self._history),
            "seconds": self._seconds,
            "best": self._best,
            "settings": json.dumps(self._settings),
        }
        self._checkpoints.save(state, is_best)

    def _read_state(self, command: Begin) -> dict[str, Any] | None:
        """Return the state to continue from. One rank reads, so that all continue from the same."""
        data = None
        if self._worker.rank == 0 and command.storage:
            if command.take_over:
                cell, name = command.take_over
                data = Checkpoints(command.storage, cell).read(name)
            elif self._checkpoints:
                data = self._checkpoints.read()
        return _share_state(data, self._worker)


def files_of_cell(command: Begin) -> Path | None:
    """Return the directory of files that a user's function keeps of a cell; None without storage on a disk."""
    if command.storage is None:
        return None
    local = Location.parse(command.storage).local
    return local / command.cell / FILES if local is not None else None


def read_start(command: Begin, worker: Worker) -> dict[str, Any]:
    """Return the backbone that a pre-training left. One rank reads, so that all start from the same.

    Args:
        command: with `start` and `storage`.
        worker: the worker that reads.

    Raises:
        RuntimeError: the pre-training did not come to its end.
    """
    assert command.start is not None
    assert command.storage is not None
    data = Checkpoints(command.storage, command.start).read() if worker.rank == 0 else None
    state = _share_state(data, worker)
    backbone = state["task"]["trunk"] if state else None
    if backbone is None:
        raise RuntimeError(f"its pre-training, cell {command.start}, did not come to its end")
    return backbone


def explain_error(error: Exception) -> str:
    """Return what went wrong in one line, with what to set when GPU memory was short."""
    if isinstance(error, torch.OutOfMemoryError):
        total = torch.cuda.get_device_properties(0).total_memory / 2**30
        used = torch.cuda.max_memory_allocated() / 2**30
        return (
            f"out of GPU memory: {used:.1f} of {total:.1f} GiB used; set a smaller train.batch or data.side, "
            "or srem.regions=0, which saves a third"
        )
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_MAX_ERROR_LENGTH]


def _share_state(data: bytes | None, worker: Worker) -> dict[str, Any] | None:
    """Return on every rank the state that rank 0 has read; None if there is none."""
    if worker.world_size > 1:
        box = [data]
        torch.distributed.broadcast_object_list(box, src=0, device=worker.device)
        data = box[0]
    return decode_state(data, worker.device) if data else None


def _make_worker(source: ImageSource | None) -> Worker:
    context = ray.train.get_context()
    return Worker(
        feed=None,  # type: ignore[arg-type]  # each cell brings its own
        cache=source.cache if source else Path(),
        device=ray.train.torch.get_device(),
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
    )


def _close_feed(worker: Worker) -> None:
    """End the pipelines of the cell that has ended."""
    if worker.feed is not None:
        worker.feed.close()
