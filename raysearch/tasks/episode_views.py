"""Base images of episodes on their way into the network: random views of their pixels, or, while the trunk is frozen,
their maps, which are computed once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from raysearch.data.images import ImageSet, augment, draw_views
from raysearch.models.fewshot import EpisodicNetwork, Maps
from raysearch.studies.config import FewshotConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.episodic import MapStore
from raysearch.tasks.loader import Loader


class EpisodeViews:
    """Args:
    network: whose maps a frozen trunk gives.
    images: of the base classes.
    config: of the run.
    worker: whose share of each step it is.
    loader: brings images to the device.
    """

    def __init__(
        self, network: EpisodicNetwork, images: ImageSet, config: FewshotConfig, worker: Worker, loader: Loader
    ) -> None:
        self._network, self._images, self._config = network, images, config
        self._worker, self._loader = worker, loader
        self._store: MapStore | None = None

    def of(self, parts: Sequence[Tensor], draws: torch.Generator) -> Tensor | Maps:
        """This worker's share of each part, one after the other: images (B, 3, H, W) or maps (B, C, h, w) a tap.

        Args:
            parts: rows of all workers, divided along the first dimension: (E, n) of episodes, or (B,).
            draws: of the step; all workers draw the views alike.
        """
        rows = torch.cat([self._worker.share(part).flatten() for part in parts])
        if self._config.model.frozen:
            if self._store is None:
                precision = self._config.train.precision
                self._store = MapStore(self._network, self._images, self._loader, precision)
            return self._store.of(rows)
        side = self._images.side
        drawn = []
        for part in parts:
            views = draw_views(self._config.data.augment, part.numel(), (side, side), draws)
            drawn.append(self._worker.share(views.view(*part.shape, -1)).flatten(0, part.dim() - 1))
        return augment(self._loader.batch(self._images, rows), torch.cat(drawn))
