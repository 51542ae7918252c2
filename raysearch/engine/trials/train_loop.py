"""What runs inside each Ray Train worker: take a command, do it, reply, until told to stop."""

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
from raysearch.runs.checkpoints import Checkpoints, decode_state
from raysearch.studies.configs import Images
from raysearch.tasks.base import Feed, NonFiniteLoss, Task, Worker

BuildTask = Callable[[Mapping[str, Any], int, Worker], Task]


@dataclass(frozen=True)
class ImageSource:
    """Where a worker's images come from."""

    sets: dict[Images, PlacedImages]
    content_hash: str
    cache: Path
    splits: dict[Images, str] = field(default_factory=dict)  # name and hash of a class-disjoint split

    def feed(self, config: Mapping[str, Any]) -> Feed:
        """The images that a cell's config asks for; to be closed after the cell."""
        data = config["data"]
        wanted = Images(data["side"], data["zoom"], data.get("split"))
        images = self.sets[wanted].open()
        return Feed(**images, content_hash=self.content_hash, split=self.splits.get(wanted, ""))


def train_loop(config: dict[str, Any]) -> None:
    """Serve commands.

    Args:
        config: "mailbox" (actor), "build" (Build), "source" (Source), "threads" (of torch on a CPU).
    """
    torch.set_num_threads(config["threads"])
    rank = ray.train.get_context().get_world_rank()
    mailbox, number, reply, cell = config["mailbox"], 0, None, None
    worker, source = _worker(config["source"]), config["source"]
    while True:
        number += 1
        command = ray.get(mailbox.exchange.remote(rank, number, reply))
        if isinstance(command, Stop):
            _release(worker)
            return
        started = time.perf_counter()
        try:
            if isinstance(command, Begin):
                cell = None  # before the next is built, so that two models never share the memory
                if source is not None:
                    _release(worker)
                    worker = replace(worker, feed=source.feed(command.config))
                start = _start(command, worker) if command.start else None
                cell = RunningCell(command, config["build"], replace(worker, start=start))
                reply = cell.begun()
            else:
                assert isinstance(command, Step)
                assert cell is not None
                reply = cell.step()
        except Exception as error:
            cell = None
            _release(worker)
            if worker.world_size > 1:
                raise  # other ranks may wait for this one in a collective: only a new group is safe
            reply = Reply({}, error=explain_error(error))
        reply = replace(reply, seconds=time.perf_counter() - started)


def _release(worker: Worker) -> None:
    """End the pipelines of the cell that has ended."""
    if worker.feed is not None:
        worker.feed.close()


class RunningCell:
    """A task, what it has reported so far, and its checkpoints, which rank 0 writes.

    Args:
        command: what to begin.
        build: makes the task.
        worker: what it runs on.
    """

    def __init__(self, command: Begin, build: BuildTask, worker: Worker) -> None:
        self._worker, self._objective = worker, command.objective
        self._checkpoints = Checkpoints(command.storage, command.cell) if command.storage else None
        self._history: list[dict[str, Any]] = []
        self._seconds, self._best = 0.0, None
        state = self._read(command)
        # What a population changed on the way is in the state; what it changes now comes with the command.
        self._settings = {**(json.loads(state["settings"]) if state else {}), **command.settings}
        self._task = build(apply_settings(command.config, self._settings), command.seed, worker)
        if state:
            self._task.load_state_dict(state["task"])
            self._history, self._seconds = json.loads(state["history"]), state["seconds"]
            self._best = state["best"]

    def begun(self) -> Reply:
        return Reply(
            {"steps": self._task.steps},
            history=self._history,
            spent=self._seconds,
            settings=self._settings,
        )

    def step(self) -> Reply:
        """Advance once and keep a checkpoint; after the last step the metrics too."""
        started = time.perf_counter()
        if len(self._history) < self._task.steps:  # else it was killed between the last step and its result
            report = self._task.advance()
            if not math.isfinite(report.get("loss", 0.0)):
                raise NonFiniteLoss(f"the loss became {report['loss']}")
            report |= self._settings  # a population's learning curves say what was in force
            self._history.append(report)
            self._seconds += time.perf_counter() - started
            self._keep(report)
        report = self._history[-1]
        if len(self._history) < self._task.steps:
            return Reply(report)
        return Reply(report, metrics=self._task.evaluate(), metric_ids=self._task.metric_ids)

    def _keep(self, report: Mapping[str, Any]) -> None:
        if self._checkpoints is None or self._worker.rank != 0:
            return
        value = report.get(self._objective.metric) if self._objective else None
        best = value is not None and self._objective is not None and self._objective.is_better(value, self._best)
        self._best = value if best else self._best
        state = {
            "task": self._task.state_dict(),
            "history": json.dumps(self._history),
            "seconds": self._seconds,
            "best": self._best,
            "settings": json.dumps(self._settings),
        }
        self._checkpoints.save(state, best)

    def _read(self, command: Begin) -> dict[str, Any] | None:
        """The state to go on from. One rank reads, so that all go on from the same."""
        data = None
        if self._worker.rank == 0 and command.storage:
            if command.take_over:
                cell, name = command.take_over
                data = Checkpoints(command.storage, cell).read(name)
            elif self._checkpoints:
                data = self._checkpoints.read()
        return _to_all(data, self._worker)


def _start(command: Begin, worker: Worker) -> dict[str, Any]:
    """The trunk that a pre-training left. One rank reads, so that all start from the same."""
    assert command.start is not None
    assert command.storage is not None
    data = Checkpoints(command.storage, command.start).read() if worker.rank == 0 else None
    state = _to_all(data, worker)
    trunk = state["task"]["trunk"] if state else None
    if trunk is None:
        raise RuntimeError(f"its pre-training, cell {command.start}, did not come to its end")
    return trunk


def _to_all(data: bytes | None, worker: Worker) -> dict[str, Any] | None:
    """The state that rank 0 has read, on every rank; None where there is none."""
    if worker.world_size > 1:
        box = [data]
        torch.distributed.broadcast_object_list(box, src=0, device=worker.device)
        data = box[0]
    return decode_state(data, worker.device) if data else None


def apply_settings(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A plain config with values at dotted paths replaced.

    >>> apply_settings({"train": {"lr": 0.1, "epochs": 2}}, {"train.lr": 0.2})
    {'train': {'lr': 0.2, 'epochs': 2}}
    """
    changed = dict(config)
    for path, value in settings.items():
        section, name = path.split(".")
        changed[section] = {**changed[section], name: value}
    return changed


def _worker(source: ImageSource | None) -> Worker:
    context = ray.train.get_context()
    return Worker(
        feed=None,  # type: ignore[arg-type]  # each cell brings its own
        cache=source.cache if source else Path(),
        device=ray.train.torch.get_device(),
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
    )


def explain_error(error: Exception) -> str:
    """One line for a person: what went wrong, and what to set."""
    if isinstance(error, torch.OutOfMemoryError):
        total = torch.cuda.get_device_properties(0).total_memory / 2**30
        used = torch.cuda.max_memory_allocated() / 2**30
        return (
            f"out of GPU memory: {used:.1f} of {total:.1f} GiB used; set a smaller train.batch or data.side, "
            "or srem.regions=0, which saves a third"
        )
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:2000]
