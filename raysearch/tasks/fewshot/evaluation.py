"""Evaluation on episodes: the share of queries that a network classifies correctly.

Seed and index determine an episode, so all variants see the same ones.
"""

import math

import numpy as np
import torch

from raysearch.data.episodes import Episodes
from raysearch.data.feed import ImageSet
from raysearch.models.fewshot import EpisodicNetwork, Maps
from raysearch.tasks.base import Worker
from raysearch.tasks.common import Loader, autocast

BATCH = 128  # images that go through the backbone at once
BUDGET = 2 << 30  # bytes of maps that are kept


class MapStore:
    """Maps of the images of a split, each computed once by the network in its present state, if they fit the budget.

    Args:
        network: computes the maps in evaluation mode; its mode is restored.
        images: the images of the split.
        loader: loads the images onto the device.
        precision: "auto" or "float32", see `autocast`.
        budget: bytes; None: `BUDGET`. Where all maps together need more, each request computes its maps anew.
    """

    def __init__(
        self, network: EpisodicNetwork, images: ImageSet, loader: Loader, precision: str, budget: int | None = None
    ) -> None:
        self._network = network
        self._images = images
        self._loader = loader
        self._precision = precision
        sample = self._compute(torch.arange(min(2, len(images))))
        bytes_per_image = sum(tap[0].numel() * tap.element_size() for tap in sample)
        self.images_at_once = max(1, (BUDGET if budget is None else budget) // bytes_per_image)
        self._all = self._compute(torch.arange(len(images))) if len(images) <= self.images_at_once else None

    def maps(self, rows: torch.Tensor) -> Maps:
        """Return the maps of rows of any shape, one per tap: rows.shape + (C, h, w)."""
        if self._all is not None:
            index = rows.to(self._all[0].device)
            return [tap[index] for tap in self._all]
        unique_rows, index = torch.unique(rows, return_inverse=True)
        return [tap[index.to(tap.device)] for tap in self._compute(unique_rows)]

    @torch.no_grad()
    def _compute(self, rows: torch.Tensor) -> Maps:
        training = self._network.training
        self._network.eval()
        self._images.prefetch(rows)
        with autocast(self._loader.device, self._precision):
            parts = [self._network.maps(self._loader.batch(self._images, part)) for part in rows.split(BATCH)]
        self._network.train(training)
        return [torch.cat(taps) for taps in zip(*parts, strict=True)]


@torch.no_grad()
def accuracies(
    network: EpisodicNetwork,
    images: ImageSet,
    episodes: Episodes,
    count: int,
    worker: Worker,
    loader: Loader,
    precision: str = "auto",
) -> np.ndarray:
    """Compute the accuracy in each of the first episodes.

    Args:
        network: in any mode, which is restored.
        images: the images of the split.
        episodes: the episodes of the split.
        count: number of episodes.
        worker: computes its share of them.
        loader: loads the images onto the device.
        precision: "auto" or "float32", see `autocast`.

    Returns:
        (count,) float64, the share of queries that are classified correctly; the same on every worker.
    """
    training = network.training
    network.eval()
    store = MapStore(network, images, loader, precision)
    correct = torch.zeros(count, dtype=torch.float64, device=worker.device)
    images_per_episode = episodes.ways * (episodes.shots + episodes.queries)
    head_limit = int(getattr(network.head, "episodes_at_once", 1))
    at_once = max(1, min(head_limit, store.images_at_once // images_per_episode))
    indices = torch.arange(count)[worker.rank :: worker.world_size]  # none where there are more workers than episodes
    true_ways = torch.arange(episodes.ways, device=worker.device).repeat_interleave(episodes.queries)
    for chunk in indices.split(at_once) if len(indices) else ():
        pairs = [episodes.draw(index) for index in chunk.tolist()]
        support, query = (torch.from_numpy(np.stack(rows)) for rows in zip(*pairs, strict=True))
        with autocast(worker.device, precision):
            logits = network.head(store.maps(support), store.maps(query.flatten(1))).logits
        assert logits.shape == (len(chunk), episodes.ways * episodes.queries, episodes.ways)
        correct[chunk.to(worker.device)] = (logits.argmax(-1) == true_ways).double().sum(-1)
    network.train(training)
    return (worker.sum(correct) / (episodes.ways * episodes.queries)).cpu().numpy()


def mean_and_half_width(values: np.ndarray) -> tuple[float, float]:
    """Return the mean over episodes and half the width of its 95 % interval, 1.96 s / sqrt(n) with n - 1 in s.

    >>> mean_and_half_width(np.array([0.5, 0.7]))
    (0.6, 0.196)
    """
    half_width = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    return round(float(values.mean()), 12), round(float(half_width), 12)
