"""Small runs for tests of retrieval: a backbone of one convolution, images of a colour a class, and what a run drew."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from raysearch.data.feed import ImageSet
from raysearch.studies.configs import RetrievalConfig, overrides
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval.task import RetrievalTask

SIDE = 12
BASE: dict[str, Any] = {
    "data.side": SIDE,
    "data.augment": "none",
    "model.backbone": "small",
    "hash.bits": 6,
    "srem.regions": 3,
    "srem.size": 4,
    "esrl.positive": 0.7,
    "esrl.erased": 0.4,
    "train.samples": 10,
    "train.batch": 4,
    "train.iterations": 2,
    "train.epochs": 2,
    "adsh.gamma": 5.0,  # as 200 is to a database of 500
    "train.lr": 0.005,
    "train.hash_lr": 3.0,
    "train.weight_decay": 0.01,
    "train.milestones": [],
}
FROZEN = {"model.frozen": True, "model.standardise": True}
WARM = {"model.standardise": True, "warmup.iterations": 1, "warmup.epochs": 2, "warmup.lr": 0.003}
PIXELS = {"data.augment": "flip"}
TIMES = ("seconds", "images_per_second", "feed_wait_share")


class TinyBody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5), nn.ReLU())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"block": self.block(images)}


class TwoTaps(nn.Module):
    """A backbone that ExchNet can cut, with channels for a fitted method's bits and layers to match."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.block2 = nn.Sequential(nn.Conv2d(6, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        first = self.block1(images)
        return {"block1": first, "block2": self.block2(first)}


def image_set(per_class: list[int], seed: int = 0, side: int = SIDE) -> ImageSet:
    """Noise around a colour a class; class 1 has no image, as labels may have gaps."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([label + (label > 0) for label in range(len(per_class))], per_class)
    colours = np.random.default_rng(99).integers(60, 190, (labels.max() + 1, 1, 1, 3))
    noise = rng.integers(-60, 60, (len(labels), side, side, 3))
    return ImageSet((colours[labels] + noise).astype(np.uint8), labels.astype(np.int64))


def config(*changes: dict[str, Any]) -> RetrievalConfig:
    merged = dict(BASE)
    for change in changes:
        merged |= change
    return overrides.resolve("retrieval", merged)


def make(
    cache: Path,
    *changes: dict[str, Any],
    seed: int = 0,
    train: ImageSet | None = None,
    test: ImageSet | None = None,
) -> RetrievalTask:
    feed = Feed(train or image_set([5, 3, 6]), test or image_set([2, 2, 2], seed=1), "hash of the data")
    return RetrievalTask(config(*changes), seed, Worker(feed, cache))


def finish(task: RetrievalTask) -> list[dict[str, Any]]:
    """Run to the end; the reports without their times, and the metrics."""
    reports = [task.advance() for _ in range(task.steps - task.done)]
    return [{k: v for k, v in report.items() if k not in TIMES} for report in reports] + [task.evaluate()]


def tensors(task: RetrievalTask) -> dict[str, Any]:
    return {"codes": task.codes, **task.network.state_dict()}


@dataclass
class Log:
    """What was random in a run, and the gradient of every step."""

    batches: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # rows and positives
    gradients: list[dict[int, Tensor]] = field(default_factory=list)

    def epochs(self, rows: int, size: int) -> list[list[tuple[Tensor, Tensor]]]:
        count = math.ceil(rows / size)
        return [self.batches[at : at + count] for at in range(0, len(self.batches), count)]
