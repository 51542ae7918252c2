"""Which images an epoch of retrieval trains on, in which order; known before it begins, so they can be sent for."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.retrieval.holdout import batch_sizes
from raysearch.tasks.retrieval.methods.base import Method
from raysearch.tasks.retrieval.sampling import RunSampler


class Epoch(NamedTuple):
    """Of the sampled rows (r,)."""

    positives: Tensor  # (r,) rows of images of the same classes
    order: Tensor  # (r,) positions in the sample
    generator: torch.Generator  # of what else the epoch draws


class EpochSampler:
    """Args:
    config: of the run.
    draws: of the run.
    method: whose order it is.
    """

    def __init__(self, config: RetrievalConfig, draws: RunSampler, method: Method) -> None:
        self._config, self._draws, self._method = config, draws, method

    def draw(self, sample: Tensor, iteration: int, epoch: int) -> Epoch:
        """What an epoch over the sample (r,) draws."""
        generator = self._draws.generator(iteration, epoch)
        positives = self._draws.positives(sample, generator, self._config.esrl.positives)
        return Epoch(positives, self._method.order(sample, generator), generator)

    def rows(self, iteration: int, worker: Worker) -> Iterator[Tensor]:
        """The rows that a worker loads in an iteration, in the order in which `PixelViews` does."""
        sample = self._draws.sample(iteration, self._config.train.samples)
        for number in range(self._config.train.epochs):
            epoch = self.draw(sample, iteration, number)
            for batch in epoch.order.split(batch_sizes(len(sample), self._config.train.batch, worker.world_size)):
                mine = worker.share(batch)
                yield sample[mine]
                if self._config.uses_positive:
                    yield epoch.positives[mine]
