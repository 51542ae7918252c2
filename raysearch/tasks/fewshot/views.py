"""The inputs of the training steps of few-shot recognition: rows of episodes and of ordinary batches, and their views.

Seed and number determine an episode. The network's inputs are random views of base images, or the maps of a frozen
backbone, which are computed once.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from raysearch.data.episodes import Episodes
from raysearch.data.feed import ImageSet, augment, draw_views, occurrences
from raysearch.models.fewshot import Maps
from raysearch.studies.configs import FewshotConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.common import Loader, generator
from raysearch.tasks.fewshot.evaluation import MapStores

_SUPPORT, _QUERY, _ORDINARY = range(3)  # the roles of an image, each with random views of its own


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


class EpisodeViews:
    """Loads the images of episodes as random views.

    A view is determined by the seed, the episode, the role of the image, and how often the row came before.
    Legend: `E` episodes, `S` supports and `N` queries of each.

    Args:
        stores: hold the maps, if the backbone is frozen.
        images: the images of the base classes.
        config: the config of the run.
        seed: the seed of the run.
        worker: whose share of each step is loaded.
        loader: loads the images onto the device.
    """

    def __init__(
        self,
        stores: MapStores,
        images: ImageSet,
        config: FewshotConfig,
        seed: int,
        worker: Worker,
        loader: Loader,
    ) -> None:
        self._stores = stores
        self._images = images
        self._config = config
        self._seed = seed
        self._worker = worker
        self._loader = loader

    def load_episodes(self, support: Tensor, query: Tensor, first: int) -> Tensor | Maps:
        """Load this worker's supports, then its queries.

        Args:
            support: (E, S) rows of the step's episodes, for all workers together.
            query: (E, N) likewise.
            first: number of the first episode in the run; the others follow it.

        Returns:
            Images (B, 3, H, W), or maps (B, C, h, w), one per tap.
        """
        share = self._worker.share
        numbers = share(torch.arange(first, first + len(support)))[:, None]
        support = share(support)
        query = share(query)
        drawn = [self._draw(_SUPPORT, support, numbers), self._draw(_QUERY, query, numbers)]
        return self._load(torch.cat([support.flatten(), query.flatten()]), torch.cat(drawn))

    def load_batch(self, rows: Tensor, first: int) -> Tensor | Maps:
        """Load this worker's share of an ordinary batch.

        Args:
            rows: (B,) of the batch, for all workers together.
            first: number of the step's first episode in the run.

        Returns:
            As `load_episodes`.
        """
        drawn = self._draw(_ORDINARY, rows, torch.tensor(first))
        return self._load(self._worker.share(rows), self._worker.share(drawn))

    def _draw(self, role: int, rows: Tensor, numbers: Tensor) -> Tensor:
        """Draw the random numbers of the views of rows (..., n), whose episodes have these numbers; flattened."""
        views = "none" if self._config.model.frozen else self._config.data.augment
        size = (self._images.side, self._images.side)
        words = [numbers.expand_as(rows).flatten(), occurrences(rows).flatten()]
        return draw_views(views, rows.flatten(), size, (self._seed, role), words)

    def _load(self, rows: Tensor, drawn: Tensor) -> Tensor | Maps:
        if not self._config.model.frozen:
            return augment(self._loader.take(self._images, rows), drawn)
        return self._stores.store("train").maps(rows)
