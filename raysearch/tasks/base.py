"""What the engine and a task know of each other: a task is advanced step by step, a worker is what it runs on."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from raysearch.data.feed import ImageSet


class NonFiniteLoss(ArithmeticError):
    """A loss became infinite or not a number; the message names the epoch."""


@dataclass(frozen=True)
class Feed:
    """The images of a task: what it trains on and what it is judged by at the end."""

    train: ImageSet
    test: ImageSet
    content_hash: str  # of the data set, for caches
    val: ImageSet | None = None  # where the splits share no class
    split: str = ""  # which split that is: its name and the beginning of its hash

    def close(self) -> None:
        """End what decodes images ahead."""
        for images in (self.train, self.val, self.test):
            if images is not None:
                images.close()


@dataclass(frozen=True)
class Worker:
    """One process that trains, alone or as one of several that hold the same model.

    Under several workers a task takes the same images in the same order, and the same random view of each, as under
    one; with the same number of workers it gives the same numbers bit for bit on a CPU. With another number differ:

    - batch norm, which sees a worker's share of each batch instead of all of it; rank 0's running statistics are kept;
    - the order in which floats are added; where a map is flat, SREM's choice among equals turns on such a bit;
    - a last batch that would leave a worker fewer than two images: it joins the batch before.

    Without batch statistics losses and parameters agree to rounding. With them a run behaves as one of smaller batches:
    shares of 36 images instead of 72 changed 6 % of the code bits and 0.11 of mAP in the small run of the tests.
    """

    feed: Feed
    cache: Path  # directory of files that any process may share
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world_size: int = 1
    start: Mapping[str, Tensor] | None = None  # a trunk's state, of the pre-training that the config asks for

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as it is to be called in training."""
        if self.world_size == 1:
            return model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the argument has another name in newer versions of torch
            # Buffers stay a process's own: a second forward before the backward must not write over them.
            return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)

    def share(self, batch: Tensor) -> Tensor:
        """This worker's part of a batch that all workers drew alike."""
        return batch[self.rank :: self.world_size]

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the workers, written into the tensor of every worker."""
        if self.world_size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Write rank 0's values into the tensor of every worker."""
        assert tensor.is_contiguous(), "ranks exchange memory as it lies"
        if self.world_size > 1:
            torch.distributed.broadcast(tensor, src=0)
        return tensor


class Task(Protocol):
    """A model in training. Everything random follows from the config and the seed."""

    steps: int  # how often `advance` is called
    metric_ids: dict[str, str]  # metric -> what exactly it is

    def advance(self) -> dict[str, Any]:
        """One step; returns plain numbers that describe it. Raises NonFiniteLoss."""

    def evaluate(self) -> dict[str, Any]:
        """The metrics on the test split, and the held-out figure where there is one; called once, at the end.

        Besides metrics there may be numbers that describe the model, and JSON texts of whole curves.
        """

    def state_dict(self) -> dict[str, Any]:
        """All that a later process needs to go on as if nothing had happened: tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, under this task's own config."""
