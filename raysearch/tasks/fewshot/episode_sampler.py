"""The rows that the training steps of few-shot recognition use: episodes by seed and number, and ordinary batches."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from raysearch.data.episodes import Episodes
from raysearch.studies.configs import FewshotConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.common import generator


class EpisodeStep(NamedTuple):
    """Rows of `E` episodes of `W` ways, `K` shots and `Q` queries per way, and of an ordinary batch of `B`; int64."""

    number: int  # of the first episode in the run
    support: torch.Tensor  # (E, W, K)
    query: torch.Tensor  # (E, W, Q)
    ordinary: torch.Tensor  # (B,), for all workers together


class EpisodeSampler:
    """The steps of each epoch.

    Args:
        config: the config of the run.
        seed: the seed of the run.
        episodes: the episodes of the base classes.
        images: number of base images.
    """

    def __init__(self, config: FewshotConfig, seed: int, episodes: Episodes, images: int) -> None:
        self._config = config
        self._seed = seed
        self._episodes = episodes
        self._images = images

    def steps(self, epoch: int) -> Iterator[EpisodeStep]:
        """Yield the steps of an epoch, counted from 0."""
        train = self._config.train
        for first in range(0, train.episodes, train.batch):
            number = epoch * train.episodes + first
            count = min(train.batch, train.episodes - first)
            support, query = map(torch.from_numpy, self._episodes.batch(number, count))
            draws = generator(self._seed, epoch, first)
            ordinary = torch.randint(self._images, (self._config.lwfm.aux_batch,), generator=draws)
            yield EpisodeStep(number, support, query, ordinary)

    def rows(self, epoch: int, worker: Worker) -> Iterator[torch.Tensor]:
        """Yield the rows that a worker loads in an epoch, in the order in which `EpisodeViews` loads them."""
        for step in self.steps(epoch):
            yield worker.share(step.support).flatten()
            yield worker.share(step.query).flatten()
            if self._config.auxiliary:
                yield worker.share(step.ordinary)
