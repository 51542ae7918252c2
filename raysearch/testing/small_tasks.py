"""Small tasks on the embedded images, one per method, and how often each makes the host wait for the accelerator."""

import functools
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from raysearch.data.feed import ImageSet
from raysearch.data.synthetic import SyntheticSpec, draw_images
from raysearch.studies.configs import overrides
from raysearch.tasks import registry
from raysearch.tasks.base import Feed, Task, Worker
from raysearch.testing.device_syncs import count_syncs

CLASSES = 12  # of the embedded images; a third each for training, validation and test where classes are divided
TRAIN_PER_CLASS = 8
TEST_PER_CLASS = 2
_BATCH = 8  # images per step of a retrieval

_SMALL: dict[str, dict[str, Any]] = {
    "retrieval": {"hash.bits": 12, "train.iterations": 8, "train.batch": _BATCH, "srem.regions": 5},
    "fewshot": {
        "data.zoom": 1.0,
        "episodes.ways": 2,
        "episodes.queries": 2,
        "episodes.validation": 4,
        "episodes.test": 4,
        "lwfm.aux_batch": 6,
        "train.epochs": 4,
        "train.batch": 1,
    },
    "pretrain": {"data.zoom": 1.0, "train.epochs": 4},
}


class SmallTask(NamedTuple):
    """A task by its name, and settings of its config by dotted path, on top of small sizes."""

    task: str
    settings: Mapping[str, Any] = MappingProxyType({})

    def sized(self, steps: int, epochs: int = 1) -> "SmallTask":
        """Return the same task with a number of steps per epoch.

        Args:
            steps: of an epoch.
            epochs: per call of `advance`; only a retrieval has several.
        """
        images = CLASSES // 3 * (TRAIN_PER_CLASS + TEST_PER_CLASS)
        sizes = {
            "retrieval": {"train.samples": _BATCH * steps, "train.epochs": epochs, "warmup.epochs": epochs},
            "fewshot": {"train.episodes": steps},
            "pretrain": {"train.batch": images // steps},
        }
        return SmallTask(self.task, {**self.settings, **sizes[self.task]})


METHODS: Mapping[str, SmallTask] = {
    "FCAENet": SmallTask("retrieval"),
    "ADSH": SmallTask("retrieval", {"esrl.positive": 0.0, "esrl.erased": 0.0, "srem.regions": 0}),
    "DPSH": SmallTask("retrieval", {"hash.method": "dpsh"}),
    "DSH": SmallTask("retrieval", {"hash.method": "dsh"}),
    "HashNet": SmallTask("retrieval", {"hash.method": "hashnet"}),
    "ExchNet": SmallTask("retrieval", {"hash.method": "exchnet", "exchnet.align_after": 0.0}),
    "HelixFormer": SmallTask("fewshot", {"model.method": "helixformer", "head.kind": "cosine"}),
    "LWFM-SPM": SmallTask("fewshot", {"model.method": "lwfm", "data.augment": "crop"}),
    "pre-training": SmallTask("pretrain"),
}


def on_meta(task_name: str, settings: Mapping[str, Any]) -> Task:
    """Build a task on the `meta` device with the embedded images. Advance it inside `count_syncs`.

    Args:
        task_name: "retrieval", "fewshot", "pretrain", or a task of an extension.
        settings: of its config, by dotted path, on top of small sizes.
    """
    with count_syncs():  # building may read values back
        return build_small(task_name, settings, torch.device("meta"))


def build_small(task_name: str, settings: Mapping[str, Any], device: torch.device) -> Task:
    """Build a task of seed 0 on a device with the embedded images.

    Args:
        task_name: the name of the task.
        settings: of its config, by dotted path, on top of small sizes.
        device: the device of the worker.

    Raises:
        UserError: an unknown task, an unknown path, or a value that the config does not take.
    """
    base = {"data.side": 32, "model.backbone": "small", **_SMALL.get(task_name, {})}
    known = overrides.known_paths(task_name)
    base = {path: value for path, value in base.items() if path in known}
    config = overrides.resolve(task_name, overrides.start_from(task_name, base, settings))
    cache = tempfile.TemporaryDirectory(prefix="raysearch-testing-")
    worker = Worker(embedded_feed(config.images.side, config.images.split is not None), Path(cache.name), device)
    task = registry.build(config, seed=0, worker=worker)
    weakref.finalize(task, cache.cleanup)
    return task


@functools.lru_cache(maxsize=4)
def embedded_feed(side: int, divided: bool) -> Feed:
    """Draw the embedded images.

    Args:
        side: of the images, in pixels.
        divided: whether training, validation and test are of different classes.
    """
    spec = SyntheticSpec(classes=CLASSES, train_per_class=TRAIN_PER_CLASS, test_per_class=TEST_PER_CLASS, side=side)
    splits, labels, _, images = zip(*draw_images(spec), strict=True)
    pixels = np.stack(images)
    every = ImageSet(pixels, np.array(labels, dtype=np.int64))
    if not divided:
        in_train = np.array(splits) == "train"
        return Feed(every.subset(in_train), every.subset(~in_train), "embedded")
    third = every.labels * 3 // CLASSES
    train, val, test = (every.subset(third == part) for part in range(3))
    return Feed(train, test, "embedded", val, "thirds-00000000")


class SyncFigures(NamedTuple):
    """How often the host waits for the accelerator.

    Args:
        per_step: waits of one step.
        per_epoch: further waits of one epoch, for example for its mean loss.
        per_call: further waits of one call of `advance`, where a call has several epochs.
        places: place -> waits in the larger of the runs that were counted.
    """

    per_step: float
    per_epoch: float
    per_call: float
    places: Mapping[str, int]


def measure_syncs(method: SmallTask) -> SyncFigures:
    """Count the waits of a method's steps and epochs on the `meta` device.

    Runs of different lengths differ by the waits of their further steps. The first call of `advance` does not count,
    since it also fills caches.
    """
    few = 2
    many = 3
    short = _count(method.sized(few))
    long = _count(method.sized(many))
    per_step = (sum(long.values()) - sum(short.values())) / (many - few)
    rest = sum(short.values()) - few * per_step
    if method.task != "retrieval":
        return SyncFigures(per_step, rest, 0.0, long)
    per_epoch = sum(_count(method.sized(few, epochs=2)).values()) - sum(short.values()) - few * per_step
    return SyncFigures(per_step, per_epoch, rest - per_epoch, long)


def _count(method: SmallTask) -> dict[str, int]:
    """Return the waits of the second call of `advance`, by place."""
    task = on_meta(method.task, method.settings)
    with count_syncs():
        task.advance()
    with count_syncs() as counter:
        task.advance()
    return counter.places()
