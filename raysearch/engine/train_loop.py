"""What runs inside each Ray Train worker: take a command, do it, reply, until told to stop."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from raysearch.engine.mailbox import Begin, Reply, Step, Stop
from raysearch.tasks.base import Feed, NonFiniteLoss, Task, Worker

Build = Callable[[Mapping[str, Any], int, Worker], Task]


@dataclass(frozen=True)
class Source:
    """Where a worker's images lie: references to arrays in the object store."""

    sets: dict[tuple[int, float], dict[str, Any]]  # (side, zoom) -> "train", "test" -> ObjectRef of an ImageSet
    content_hash: str
    cache: Path

    def feed(self, config: Mapping[str, Any]) -> Feed:
        """The images that a cell's config asks for, mapped from the object store."""
        splits = self.sets[config["data"]["side"], config["data"]["zoom"]]
        images = dict(zip(splits, ray.get(list(splits.values())), strict=True))
        return Feed(**images, content_hash=self.content_hash)


def train_loop(config: dict[str, Any]) -> None:
    """Serve commands.

    Args:
        config: "mailbox" (actor), "build" (Build), "source" (Source), "threads" (of torch on a CPU).
    """
    torch.set_num_threads(config["threads"])
    rank = ray.train.get_context().get_world_rank()
    mailbox, number, reply, task = config["mailbox"], 0, None, None
    worker, source = _worker(config["source"]), config["source"]
    while True:
        number += 1
        command = ray.get(mailbox.exchange.remote(rank, number, reply))
        if isinstance(command, Stop):
            return
        started = time.perf_counter()
        try:
            if isinstance(command, Begin):
                task = None  # before the next is built, so that two models never share the memory
                if source is not None:
                    worker = replace(worker, feed=source.feed(command.config))
                task = config["build"](command.config, command.seed, worker)
                reply = Reply({"steps": task.steps})
            else:
                assert isinstance(command, Step)
                assert task is not None
                reply = _step(task)
        except Exception as error:
            task = None
            if worker.world_size > 1:
                raise  # other ranks may wait for this one in a collective: only a new group is safe
            reply = Reply({}, error=explain(error))
        reply = replace(reply, seconds=time.perf_counter() - started)


def _step(task: Task) -> Reply:
    report = task.advance()
    if not math.isfinite(report.get("loss", 0.0)):
        raise NonFiniteLoss(f"the loss became {report['loss']}")
    if report["iteration"] < task.steps:
        return Reply(report)
    return Reply(report, metrics=task.evaluate(), metric_ids=task.metric_ids)


def _worker(source: Source | None) -> Worker:
    context = ray.train.get_context()
    return Worker(
        feed=None,  # type: ignore[arg-type]  # each cell brings its own
        cache=source.cache if source else Path(),
        device=ray.train.torch.get_device(),
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
    )


def explain(error: Exception) -> str:
    """One line for a person: what went wrong, and what to set."""
    if isinstance(error, torch.OutOfMemoryError):
        total = torch.cuda.get_device_properties(0).total_memory / 2**30
        used = torch.cuda.max_memory_allocated() / 2**30
        return (
            f"out of GPU memory: {used:.1f} of {total:.1f} GiB used; set a smaller train.batch or data.side, "
            "or srem.regions=0, which saves a third"
        )
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:2000]
