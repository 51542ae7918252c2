"""Small few-shot runs for tests: a backbone of two convolutions, and three splits of images, one color per class."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysearch.data.feed import ImageSet
from raysearch.models.backbones import Backbone
from raysearch.studies.configs import FewshotConfig, overrides
from raysearch.tasks.base import Feed, Task, Worker
from raysearch.tasks.fewshot.task import FewshotTask

SIDE = 16
BASE: dict[str, Any] = {
    "data.side": SIDE,
    "data.zoom": 1.0,
    "data.augment": "flip",
    "model.backbone": "small",
    "episodes.ways": 2,
    "episodes.shots": 2,
    "episodes.queries": 2,
    "episodes.test": 9,
    "episodes.validation": 4,
    "helix.dim_head": 3,
    "spm.weight": 0.7,
    "lwe.temperature": 0.8,
    "lwe.grid": 2,
    "lwfm.aux_batch": 5,
    "lwfm.episode_weight": 0.4,
    "train.epochs": 2,
    "train.episodes": 3,  # a step of two episodes and a step of one
    "train.batch": 2,
    "train.lr": 0.01,
    "train.decay": 0.3,
    "train.milestones": [0.5],
}
METHODS: dict[str, dict[str, Any]] = {
    "centroid": {"model.method": "centroid"},
    "centroid, cosine": {"model.method": "centroid", "centroid.distance": "cosine"},
    "relation": {"model.method": "relation"},
    "helixformer": {"model.method": "helixformer"},
    "helixformer, cosine": {
        "model.method": "helixformer",
        "helix.design": "s_then_q",
        "head.kind": "cosine",
        "episodes.shots": 1,
    },
    "lwfm": {"model.method": "lwfm"},
    "lwfm, no aux": {"model.method": "lwfm", "lwfm.aux": False, "spm.reduce": "mean", "spm.layers": "mean"},
    "helix_lwfm": {"model.method": "helix_lwfm"},
}
STARTED = {"pretrain.epochs": 1}  # the worker then has the backbone
FROZEN = {**STARTED, "model.frozen": True}
SGD = {"train.optimiser": "sgd", "train.weight_decay": 0.02, "train.clip": 0.5}
TIMES = ("seconds", "episodes_per_second", "images_per_second", "feed_wait_share")


class TinyNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 4, 3, 2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(4, 6, 3, 2, padding=1, bias=False), nn.BatchNorm2d(6), nn.LeakyReLU(0.1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        first = self.one(images)
        return {"one": first, "two": self.two(first)}


def tiny_backbone(name: str = "small", weights: str | None = None) -> Backbone:
    return Backbone(TinyNetwork(), ("one", "two"), (4, 6))


def start() -> dict[str, Tensor]:
    """Return the state that a pre-training leaves."""
    with torch.random.fork_rng():
        torch.manual_seed(77)
        return tiny_backbone().state_dict()


def image_set(per_class: list[int], first: int = 0, spread: int = 12) -> ImageSet:
    """Make images of noise around one color per class. Labels begin at `first`, with a gap after the second.

    With a small spread of the colors, classes are hard to tell apart.
    """
    labels = np.repeat([first + label + (label > 1) for label in range(len(per_class))], per_class)
    colours = np.random.default_rng(99).integers(128 - spread, 128 + spread, (first + 12, 1, 1, 3))
    grain = np.random.default_rng(first).integers(-60, 61, (len(labels), SIDE, SIDE, 3))
    return ImageSet((colours[labels] + grain).astype(np.uint8), labels.astype(np.int64))


def feed() -> Feed:
    """Splits that share no class."""
    train, val, test = image_set([6, 5, 7]), image_set([6, 6, 4], 10), image_set([5, 6, 5], 20)
    return Feed(train, test, "hash of the data", val, "mod4-12345678")


def config(*changes: dict[str, Any]) -> FewshotConfig:
    merged = dict(BASE)
    for change in changes:
        merged |= change
    resolved = overrides.resolve("fewshot", merged)
    assert isinstance(resolved, FewshotConfig)
    return resolved


def make(*changes: dict[str, Any], seed: int = 0, worker: Worker | None = None) -> FewshotTask:
    """Make a task; its worker has a backbone where the config has a pre-training."""
    run = config(*changes)
    worker = worker or Worker(feed(), Path())
    if run.pretrain.epochs and worker.start is None:
        worker = replace(worker, start=start())
    return FewshotTask(run, seed, worker)


def finish(task: Task) -> list[dict[str, Any]]:
    """Run to the end; return the reports without their times, and the metrics."""
    done: int = task.done  # type: ignore[attr-defined]
    reports = [task.advance() for _ in range(task.steps - done)]
    return [{k: v for k, v in report.items() if k not in TIMES} for report in reports] + [task.evaluate()]
