"""The interface between the engine and a task: a task is advanced step by step, on a worker."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from raysearch.data.feed import DeviceImages, ImageSet


class NonFiniteLoss(ArithmeticError):
    """A loss became infinite or not a number; the message names the epoch."""


@dataclass(frozen=True)
class Feed:
    """The images of a task: those it trains on, and those it is evaluated on."""

    train: ImageSet
    test: ImageSet
    content_hash: str  # of the data set, for caches
    val: ImageSet | None = None  # of class-disjoint splits
    split: str = ""  # name of that split, and the beginning of its hash

    def close(self) -> None:
        """End the pipelines that decode images ahead."""
        for images in (self.train, self.val, self.test):
            if images is not None:
                images.close()


@dataclass(frozen=True)
class Worker:
    """One process that trains, alone or as one of several that hold the same model.

    With several workers a task trains on the same images in the same order, with the same random views, as with one.
    With the same number of workers it gives the same numbers bit for bit on a CPU. With another number these differ:

    - batch norm, which sees a worker's share of each batch instead of all of it; rank 0's running statistics are used;
    - the order in which floats are added; on a flat map, SREM's choice among equal positions depends on such a bit;
    - a last batch that would leave a worker fewer than two images: it joins the batch before.

    Without batch statistics, losses and parameters agree to rounding. With them, a run behaves like one with smaller
    batches: shares of 36 images instead of 72 changed 6 % of the code bits and 0.11 of mAP in the small run of the
    tests.
    """

    feed: Feed  # of a run without data, None
    cache: Path  # directory of files that any process may share
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world_size: int = 1
    start: Mapping[str, Tensor] | None = None  # a backbone's state, of the config's pre-training
    gpu_share: float = 1.0  # the part of its GPU that the worker may use; sizes that follow from free memory heed it
    device_images: DeviceImages = field(default_factory=DeviceImages)  # images that stay on a GPU from cell to cell
    out: Path | None = None  # directory of files that a user's function keeps of its cell

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model as it is called in training."""
        if self.world_size == 1:
            return model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the argument has another name in newer versions of torch
            # Each process keeps its own buffers: a second forward before the backward must not overwrite them.
            return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)

    def share(self, batch: Tensor) -> Tensor:
        """Return this worker's part of a batch that all workers drew alike."""
        return batch[self.rank :: self.world_size]

    def gather(self, part: Tensor, rows: int) -> Tensor:
        """Put together what the workers computed of their shares: the inverse of `share`. All must call it together.

        Args:
            part: (r, ...) of this worker's share, of which `r` may be 0; of the same type on every worker.
            rows: of all shares together.

        Returns:
            (rows, ...) on the device of `part`, on every worker.
        """
        if self.world_size == 1:
            return part
        whole = torch.zeros(rows, *part.shape[1:], dtype=part.dtype, device=self.device)
        whole[self.rank :: self.world_size] = part.to(self.device)
        return self.sum(whole).to(part.device)

    def sum(self, tensor: Tensor) -> Tensor:
        """Replace the tensor by its sum over the workers, on every worker, and return it."""
        if self.world_size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Replace the tensor by rank 0's, on every worker, and return it."""
        assert tensor.is_contiguous(), "ranks exchange memory as it is laid out"
        if self.world_size > 1:
            torch.distributed.broadcast(tensor, src=0)
        return tensor


class Task(Protocol):
    """A model in training. Everything random follows from the config and the seed.

    A task may have `metric_steps` as well: metric -> its smallest change, such as 1 / n for the accuracy on n images.
    Comparisons account for it; see `studies.analysis.resolution`.
    """

    metric_ids: dict[str, str]  # metric -> its exact definition

    @property
    def steps(self) -> int:
        """Number of calls of `advance`."""

    def advance(self) -> dict[str, Any] | None:
        """Train one step, and return plain numbers that describe it; None if training came to its end before.

        Raises:
            NonFiniteLoss: the loss became infinite or not a number.
        """

    def evaluate(self) -> dict[str, Any]:
        """Return the metrics on the test split, and the held-out metric if there is one; called once, at the end.

        Besides metrics there may be numbers that describe the model, and JSON texts of whole curves.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a later process needs to continue: tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, under this task's own config."""
