"""The inputs of the training steps of few-shot recognition: rows of episodes and of ordinary batches, and their views.

Seed and number determine an episode. The network's inputs are random views of base images, or the maps of a frozen
backbone, which are computed once.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from raysearch.data.episodes import Episodes
from raysearch.data.feed import ImageSet, augment, draw_views, occurrences
from raysearch.models.fewshot import Layout, Maps
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


class StepInputs(NamedTuple):
    """What a worker trains on in one step, on its device. Images are views (B, 3, H, W), or maps, one per tap."""

    step: EpisodeStep
    layout: Layout
    images: Tensor | Maps  # supports, then queries
    query_classes: Tensor  # (E, N) base classes, counted from 0
    batch: Tensor | Maps | None  # the ordinary batch, where a loss needs one
    batch_classes: Tensor  # (B,) base classes


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
        _, classes = np.unique(images.labels, return_inverse=True)
        self._classes = torch.from_numpy(classes)  # of each image, counted from 0

    def load(self, steps: Sequence[EpisodeStep]) -> Iterator[StepInputs]:
        """Load this worker's share of steps, one after the other.

        Everything random is drawn first, and copied to the device in one transfer.
        """
        share = self._worker.share
        rows: list[Tensor] = []  # of each load: a step's episodes, then its ordinary batch
        drawn: list[Tensor] = []
        classes: list[Tensor] = []
        for step in steps:
            rows.append(torch.cat([share(step.support).flatten(), share(step.query).flatten()]))
            drawn.append(self._draw_episodes(step))
            classes.append(self._classes[share(step.query).flatten()])
            if self._config.auxiliary:
                rows.append(share(step.ordinary))
                drawn.append(share(self._draw(_ORDINARY, step.ordinary, torch.tensor(step.number))))
                classes.append(self._classes[share(step.ordinary)])
        loads = self._load(rows, drawn) if steps else iter(())
        parts = iter(self._upload(classes))
        for step in steps:
            episodes, ways, shots = share(step.support).shape
            layout = Layout(episodes, ways, shots, step.query[0].numel())
            images = next(loads)
            query_classes = next(parts).unflatten(0, (layout.episodes, layout.queries))
            auxiliary = self._config.auxiliary
            batch = next(loads) if auxiliary else None
            yield StepInputs(step, layout, images, query_classes, batch, next(parts) if auxiliary else query_classes[0])

    def _load(self, rows: Sequence[Tensor], drawn: Sequence[Tensor]) -> Iterator[Tensor | Maps]:
        """Yield the views, or the maps, of each load."""
        if not self._config.model.frozen:
            batches = self._loader.batches(self._images, rows)
            return map(augment, batches, self._upload(drawn))
        store = self._stores.store("train")
        return map(store.maps, self._upload(rows) if store.complete else rows)

    def _upload(self, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        """Copy tensors that differ in their first dimension alone to the device, in one transfer."""
        if not parts:
            return ()
        (whole,) = self._loader.upload(torch.cat(list(parts)))
        return whole.split([len(part) for part in parts])

    def _draw_episodes(self, step: EpisodeStep) -> Tensor:
        """Draw the views of this worker's supports, then of its queries."""
        share = self._worker.share
        numbers = share(torch.arange(step.number, step.number + len(step.support)))[:, None]
        sides = ((_SUPPORT, step.support), (_QUERY, step.query))
        return torch.cat([self._draw(role, share(rows.flatten(1)), numbers) for role, rows in sides])

    def _draw(self, role: int, rows: Tensor, numbers: Tensor) -> Tensor:
        """Draw the random numbers of the views of rows (..., n), whose episodes have these numbers; flattened."""
        views = "none" if self._config.model.frozen else self._config.data.augment
        size = (self._images.side, self._images.side)
        words = [numbers.expand_as(rows).flatten(), occurrences(rows).flatten()]
        return draw_views(views, rows.flatten(), size, (self._seed, role), words)
