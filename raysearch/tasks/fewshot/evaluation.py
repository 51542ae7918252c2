"""Evaluation on episodes: the share of queries that a network classifies correctly.

Seed and index determine an episode, so all variants see the same ones.
"""

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from raysearch.data.episodes import Episodes
from raysearch.data.feed import ImageSet, normalize
from raysearch.models.fewshot import PAIR_MAPS, EpisodicNetwork, Maps
from raysearch.studies.configs import FewshotConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.common import Loader, autocast, items_at_once, resolve_precision
from raysearch.tasks.fewshot.map_cache import FILE_LIMIT, MapCache, network_key

BATCH = 128  # images that go through the backbone at once, on a CPU
BUDGET = 2 << 30  # bytes of maps that are kept, on a CPU
# On a GPU, sizes follow from its free memory. A stage of 64 channels at full size, and the two before it:
_BYTES_PER_PIXEL = 3 * 64 * 4
_IMAGES = (64, 1024)  # the least and the most that go through the backbone at once
_EPISODES = (1, 256)  # likewise, of episodes that a head compares
_PAIRS = (64, 8192)  # likewise, of pairs of a query and a support
Part = Literal["train", "val", "test"]


class MapStore:
    """Maps of the images of a split, each computed once by the network in its present state, if they fit the budget.

    Args:
        network: computes the maps in evaluation mode; its mode is restored.
        images: the images of the split.
        loader: loads the images onto the device.
        precision: "auto" or "float32", see `autocast`.
        budget: bytes; None: `BUDGET`, or a quarter of a GPU's free memory. Where all maps together need more, each
            request computes its maps anew.
        cache: other processes' maps of these images, if the backbone is not trained.
    """

    def __init__(
        self,
        network: EpisodicNetwork,
        images: ImageSet,
        loader: Loader,
        precision: str,
        budget: int | None = None,
        cache: MapCache | None = None,
    ) -> None:
        self._network = network
        self._images = images
        self._loader = loader
        self._precision = precision
        sample = self._compute(torch.arange(min(2, len(images))))
        bytes_per_image = sum(tap[0].numel() * tap.element_size() for tap in sample)
        self.values_per_image = sum(tap[0].numel() for tap in sample)
        if budget is None:
            free = loader.free_memory()
            budget = BUDGET if free is None else free // 4
        self.images_at_once = max(1, budget // bytes_per_image)
        self._all: Maps | None = None
        if len(images) > self.images_at_once:
            return
        if cache is None or len(images) * bytes_per_image > FILE_LIMIT:
            self._all = self._compute(torch.arange(len(images)))
        else:
            self._all = cache.maps(lambda: self._compute(torch.arange(len(images))), loader.device)

    def maps(self, rows: torch.Tensor) -> Maps:
        """Return the maps of rows of any shape, one per tap: rows.shape + (C, h, w).

        Args:
            rows: on the host or, if the store is `complete`, on the device.
        """
        if self._all is not None:
            (index,) = (rows,) if rows.device == self._loader.device else self._loader.upload(rows)
            return [tap[index] for tap in self._all]
        unique_rows, index = torch.unique(rows, return_inverse=True)
        (index,) = self._loader.upload(index)
        return [tap[index] for tap in self._compute(unique_rows)]

    @property
    def complete(self) -> bool:
        """Whether all maps are on the device, so that rows may be there too."""
        return self._all is not None

    @torch.no_grad()
    def _compute(self, rows: torch.Tensor) -> Maps:
        training = self._network.training
        self._network.eval()
        self._images.prefetch(rows)
        pixels = self._images.side**2
        at_once = items_at_once(self._loader.free_memory(), _BYTES_PER_PIXEL * pixels, BATCH, _IMAGES)
        with autocast(self._loader.device, self._precision):
            batches = self._loader.batches(self._images, rows.split(at_once))
            parts = [self._network.maps(normalize(taken)) for taken in batches]
        self._network.train(training)
        return [torch.cat(taps) for taps in zip(*parts, strict=True)]


class MapStores:
    """The stores of a run's splits. While the backbone is not trained, maps are computed once and kept.

    Args:
        network: computes the maps.
        worker: whose images and cache are used.
        loader: loads the images onto the device.
        config: the config of the run.
        trained: whether the backbone is trained.
    """

    def __init__(
        self, network: EpisodicNetwork, worker: Worker, loader: Loader, config: FewshotConfig, trained: bool
    ) -> None:
        self._network = network
        self._worker = worker
        self._loader = loader
        self._config = config
        self._trained = trained
        self._kept: dict[Part, MapStore] = {}
        self._key: dict[str, Any] = {}

    def store(self, part: Part) -> MapStore:
        """Return the store of a split for the network in its present state."""
        if part in self._kept:
            return self._kept[part]
        precision = self._config.train.precision
        images = getattr(self._worker.feed, part)
        cache = None if self._trained else MapCache(self._worker.cache, self._cache_key(part))
        store = MapStore(self._network, images, self._loader, precision, cache=cache)
        if not self._trained and part != "test":  # which is asked for once
            self._kept[part] = store
        return store

    def clear(self) -> None:
        """Forget all maps, after the network has taken over another state."""
        self._kept = {}
        self._key = {}

    def _cache_key(self, part: Part) -> dict[str, Any]:
        """Return everything that decides the maps of a split."""
        if not self._key:
            feed = self._worker.feed
            device = self._worker.device
            precision = self._config.train.precision
            self._key = {
                **network_key(self._network),
                "backbone": self._config.identities.get("model.backbone", self._config.model.backbone),
                "data": feed.content_hash,
                "split": feed.split,
                "side": self._config.data.side,
                "zoom": self._config.data.zoom,
                "precision": resolve_precision(device, precision),
                "exact": device.type == "cuda" and precision == "float32",  # by default, a GPU rounds to TF32
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
                "torch": torch.__version__,
            }
        return {**self._key, "part": part}


@torch.no_grad()
def accuracies(
    network: EpisodicNetwork,
    images: ImageSet,
    episodes: Episodes,
    count: int,
    worker: Worker,
    loader: Loader,
    precision: str = "auto",
    store: MapStore | None = None,
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
        store: maps of the images; None: they are computed.

    Returns:
        (count,) float64, the share of queries that are classified correctly; the same on every worker.
    """
    training = network.training
    network.eval()
    store = store or MapStore(network, images, loader, precision)
    images_per_episode = episodes.ways * (episodes.shots + episodes.queries)
    head_limit = fit_head(network.head, episodes, store.values_per_image, loader.free_memory())
    at_once = max(1, min(head_limit, store.images_at_once // images_per_episode))
    indices = range(worker.rank, count, worker.world_size)  # none where there are more workers than episodes
    pairs = [episodes.draw(index) for index in indices]
    counts = [torch.zeros(0, dtype=torch.float64, device=worker.device)]
    if pairs:
        support, query = (torch.from_numpy(np.stack(rows)) for rows in zip(*pairs, strict=True))
        true_ways = torch.arange(episodes.ways).repeat_interleave(episodes.queries)
        on_device = loader.upload(support, query, true_ways)
        true_ways = on_device[2]
        if store.complete:
            support, query, _ = on_device
        for supports, queries in zip(support.split(at_once), query.split(at_once), strict=True):
            with autocast(worker.device, precision):
                logits = network.head(store.maps(supports), store.maps(queries.flatten(1))).logits
            assert logits.shape == (len(supports), episodes.ways * episodes.queries, episodes.ways)
            counts.append((logits.argmax(-1) == true_ways).double().sum(-1))
    network.train(training)
    return (worker.gather(torch.cat(counts), count) / (episodes.ways * episodes.queries)).cpu().numpy()


def fit_head(head: nn.Module, episodes: Episodes, values: int, free: int | None) -> int:
    """Let a head use the free memory of a GPU; see `models.fewshot.FewShotHead`.

    Args:
        head: whose `pairs_at_once` is set, if it has one.
        episodes: their sizes.
        values: in the maps of an image.
        free: bytes; None: the device is not a GPU, and the head's own sizes are right.

    Returns:
        The number of episodes to compare at once.
    """
    default = int(getattr(head, "episodes_at_once", 1))
    if free is None:
        return default
    image_bytes = 4 * values  # float32
    pair_bytes = int(image_bytes * float(getattr(head, "maps_per_pair", PAIR_MAPS)))
    pairs = episodes.ways * episodes.shots * episodes.ways * episodes.queries
    if hasattr(head, "pairs_at_once"):
        head.pairs_at_once = items_at_once(free, pair_bytes, default, _PAIRS)  # type: ignore[assignment]
    images = episodes.ways * (episodes.shots + episodes.queries)
    return items_at_once(free, 3 * images * image_bytes + pairs * pair_bytes, default, _EPISODES)


def mean_and_half_width(values: np.ndarray) -> tuple[float, float]:
    """Return the mean over episodes and half the width of its 95 % interval, 1.96 s / sqrt(n) with n - 1 in s.

    >>> mean_and_half_width(np.array([0.5, 0.7]))
    (0.6, 0.196)
    """
    half_width = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    return round(float(values.mean()), 12), round(float(half_width), 12)
