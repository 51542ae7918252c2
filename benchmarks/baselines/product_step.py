"""The retrieval task's own training step, timed from the end of one epoch to the end of the next.

That includes everything that a step of a study does: random numbers, taking images from a resident set, augmenting
them, the losses, the optimizer, and the read-back of the mean losses.
"""

from pathlib import Path

import numpy as np
import torch
from baselines.step_baselines import GAMMA, RELATION, Setup
from measuring import DeviceTimer

from raysearch.data.feed import ImageSet
from raysearch.studies.configs import RetrievalConfig, overrides
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval.task import RetrievalTask

_EPOCHS = 2  # of a turn; the first one is not timed, because the iteration begins in it


def resident_feed(setup: Setup) -> Feed:
    """Return random images in memory. Rows of the database share images, as many as an iteration samples.

    Args:
        setup: sizes.
    """
    count = min(setup.rows, setup.sampled)
    shape = (count, setup.side, setup.side, 3)
    pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    rows = np.arange(setup.rows)
    train = ImageSet(pixels, rows % setup.classes, rows % count)
    test = ImageSet(pixels, np.arange(setup.classes), np.arange(setup.classes) % count)
    return Feed(train, test, "random images")


class ProductStep:
    """The task in training.

    Args:
        setup: sizes.
        device: device to train on.
    """

    def __init__(self, setup: Setup, device: torch.device) -> None:
        config = overrides.resolve(
            "retrieval",
            {
                "data.side": setup.side,
                "model.backbone": setup.backbone,
                "hash.bits": setup.bits,
                "srem.regions": setup.regions,
                "srem.size": setup.size,
                "esrl.positive": RELATION,
                "esrl.erased": RELATION,
                "adsh.gamma": GAMMA,
                "train.iterations": 10_000,  # more than are timed
                "train.epochs": _EPOCHS,
                "train.samples": setup.batch * setup.steps,
                "train.batch": setup.batch,
            },
        )
        assert isinstance(config, RetrievalConfig)
        self._setup = setup
        self._device = device
        self._task = RetrievalTask(config, 0, Worker(resident_feed(setup), Path(), device))

    def train(self, iterations: int) -> None:
        """Train for a number of iterations."""
        for _ in range(iterations):
            self._task.advance()

    def seconds(self) -> float:
        """Train for one iteration, and return the seconds of its last epoch, which has `setup.steps` steps."""
        timer = DeviceTimer(self._device)
        ended = 0

        def _count(*_: object) -> None:
            nonlocal ended
            ended += 1
            if ended % self._setup.steps == 0:
                timer.set()

        handle = self._task.optimizer.register_step_post_hook(_count)
        try:
            self._task.advance()
        finally:
            handle.remove()
        (elapsed,) = timer.between()
        return elapsed
