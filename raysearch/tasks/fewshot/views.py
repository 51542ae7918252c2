"""Base images of episodes on their way into the network: random views of their pixels, or, while the trunk is frozen,
their maps, which are computed once.
"""

import torch
from torch import Tensor

from raysearch.data.feed import ImageSet, augment, draw_views, occurrences
from raysearch.models.fewshot import EpisodicNetwork, Maps
from raysearch.studies.configs import FewshotConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.common.loader import Loader
from raysearch.tasks.fewshot.evaluation import MapStore

_SUPPORT, _QUERY, _ORDINARY = range(3)  # what a random view is for


class EpisodeViews:
    """An image's view follows from the seed, its episode, whether it is support or query there, and how often before.

    Legend: `E` episodes, `S` supports and `N` queries of each.

    Args:
        network: whose maps a frozen trunk gives.
        images: of the base classes.
        config: of the run.
        seed: of the run.
        worker: whose share of each step it is.
        loader: brings images to the device.
    """

    def __init__(
        self,
        network: EpisodicNetwork,
        images: ImageSet,
        config: FewshotConfig,
        seed: int,
        worker: Worker,
        loader: Loader,
    ) -> None:
        self._network, self._images, self._config = network, images, config
        self._seed, self._worker, self._loader = seed, worker, loader
        self._store: MapStore | None = None

    def load_episodes(self, support: Tensor, query: Tensor, first: int) -> Tensor | Maps:
        """This worker's supports, then its queries: images (B, 3, H, W) or maps (B, C, h, w) a tap.

        Args:
            support: (E, S) rows of the step's episodes, of all workers.
            query: (E, N).
            first: the number of the first episode in the run; the others follow it.
        """
        share = self._worker.share
        numbers = share(torch.arange(first, first + len(support)))
        mine = share(support), share(query)
        drawn = [self._draw(role, rows, numbers[:, None]) for role, rows in zip((_SUPPORT, _QUERY), mine, strict=True)]
        return self._load(torch.cat([rows.flatten() for rows in mine]), torch.cat(drawn))

    def load_batch(self, rows: Tensor, first: int) -> Tensor | Maps:
        """This worker's share of an ordinary batch of rows (B,), which goes with the episodes from `first` on."""
        drawn = self._draw(_ORDINARY, rows, torch.tensor(first))
        return self._load(self._worker.share(rows), self._worker.share(drawn))

    def _draw(self, role: int, rows: Tensor, numbers: Tensor) -> Tensor:
        """What is random in the views of rows (..., n) of episodes of these numbers, flattened."""
        how = "none" if self._config.model.frozen else self._config.data.augment
        size = (self._images.side, self._images.side)
        apart = [numbers.expand_as(rows).flatten(), occurrences(rows).flatten()]
        return draw_views(how, rows.flatten(), size, (self._seed, role), apart)

    def _load(self, rows: Tensor, drawn: Tensor) -> Tensor | Maps:
        if not self._config.model.frozen:
            return augment(self._loader.take(self._images, rows), drawn)
        if self._store is None:
            self._store = MapStore(self._network, self._images, self._loader, self._config.train.precision)
        return self._store.maps(rows)
