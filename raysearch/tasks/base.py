"""What the engine and a task know of each other: a task is advanced step by step, a worker is what it runs on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from raysearch.data.images import ImageSet


class NonFiniteLoss(ArithmeticError):
    """A loss became infinite or not a number; the message names the epoch."""


@dataclass(frozen=True)
class Feed:
    """The images of a task: what it trains on and what it is judged by at the end."""

    train: ImageSet
    test: ImageSet
    content_hash: str  # of the data set, for caches


@dataclass(frozen=True)
class Worker:
    """One process that trains, alone or as one of several that hold the same model."""

    feed: Feed
    cache: Path  # directory of files that any process may share
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world_size: int = 1

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as it is to be called in training."""
        if self.world_size == 1:
            return model
        # Buffers stay a process's own: a second forward before the backward must not write over them.
        return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)

    def share(self, batch: Tensor) -> Tensor:
        """This worker's part of a batch that all workers drew alike."""
        return batch[self.rank :: self.world_size]

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the workers."""
        if self.world_size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor


class Task(Protocol):
    """A model in training. Everything random follows from the config and the seed."""

    steps: int  # how often `advance` is called
    metric_ids: dict[str, str]  # metric -> what exactly it is

    def advance(self) -> dict[str, Any]:
        """One step; returns plain numbers that describe it. Raises NonFiniteLoss."""

    def evaluate(self) -> dict[str, float]:
        """The metrics on the test split; called once, at the end."""

    def state_dict(self) -> dict[str, Any]:
        """All that a later process needs to go on as if nothing had happened."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
