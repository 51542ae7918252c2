"""Judging by episodes: how many queries of each a network names right. Episodes are fixed by seed and index."""

import contextlib
import math
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from raysearch.data.episodes import Episodes
from raysearch.data.feed import ImageSet
from raysearch.models.fewshot import EpisodicNetwork, Maps
from raysearch.tasks.base import Worker
from raysearch.tasks.common.loader import Loader

BATCH = 128  # images that go through the trunk at once
BUDGET = 2 << 30  # bytes of maps that are kept


class MapStore:
    """Maps of the images of a split, computed once each by the network as it is, as long as they fit the budget.

    Args:
        network: whose maps, in evaluation mode, which it is left in as it was.
        images: of the split.
        loader: brings them to the device.
        how: see `precision`.
        budget: bytes; where all maps take more, those of each question are computed anew.
    """

    def __init__(
        self, network: EpisodicNetwork, images: ImageSet, loader: Loader, how: str, budget: int | None = None
    ) -> None:
        self._network, self._images, self._loader, self._how = network, images, loader, how
        budget = BUDGET if budget is None else budget
        first = self._compute(torch.arange(min(2, len(images))))
        self._bytes = sum(one[0].numel() * one.element_size() for one in first)
        self.images_at_once = max(1, budget // self._bytes)
        self._all = self._compute(torch.arange(len(images))) if len(images) <= self.images_at_once else None

    def maps(self, rows: Tensor) -> Maps:
        """Maps of rows of any shape: one a tap, rows.shape + (C, h, w)."""
        if self._all is not None:
            where = rows.to(self._all[0].device)
            return [one[where] for one in self._all]
        needed, where = torch.unique(rows, return_inverse=True)
        return [one[where.to(one.device)] for one in self._compute(needed)]

    @torch.no_grad()
    def _compute(self, rows: Tensor) -> Maps:
        mode = self._network.training
        self._network.eval()
        self._images.prefetch(rows)
        with autocast(self._loader.device, self._how):
            parts = [self._network.maps(self._loader.batch(self._images, part)) for part in rows.split(BATCH)]
        self._network.train(mode)
        return [torch.cat(taps) for taps in zip(*parts, strict=True)]


@torch.no_grad()
def accuracies(
    network: EpisodicNetwork,
    images: ImageSet,
    drawn: Episodes,
    count: int,
    worker: Worker,
    loader: Loader,
    how: str = "auto",
) -> np.ndarray:
    """The share of queries named right in each of the first `count` episodes: (count,) float64, on every worker alike.

    Args:
        network: judged in evaluation mode.
        images: of the split.
        drawn: its episodes.
        count: how many.
        worker: takes its share of them.
        loader: brings the images to the device.
        how: see `precision`.
    """
    mode = network.training
    network.eval()
    store = MapStore(network, images, loader, how)
    right = torch.zeros(count, dtype=torch.float64, device=worker.device)
    shape = drawn.ways * (drawn.shots + drawn.queries)
    at_once = max(1, min(int(network.head.episodes_at_once), store.images_at_once // shape))  # type: ignore[arg-type]
    mine = torch.arange(count)[worker.rank :: worker.world_size]  # none where workers are more than episodes
    for chunk in mine.split(at_once) if len(mine) else ():
        pairs = [drawn.draw(index) for index in chunk.tolist()]
        support, query = (torch.from_numpy(np.stack(rows)) for rows in zip(*pairs, strict=True))
        with autocast(worker.device, how):
            compared = network.head(store.maps(support), store.maps(query.flatten(1)))
        names = torch.arange(drawn.ways, device=worker.device).repeat_interleave(drawn.queries)
        right[chunk.to(worker.device)] = (compared.logits.argmax(-1) == names).double().sum(-1)
        assert compared.logits.shape == (len(chunk), drawn.ways * drawn.queries, drawn.ways)
    network.train(mode)
    return (worker.sum(right) / (drawn.ways * drawn.queries)).cpu().numpy()


def mean_and_half_width(values: np.ndarray) -> tuple[float, float]:
    """Mean over episodes and half the width of its 95 % interval, 1.96 s / sqrt(n) with n - 1 in s.

    >>> mean_and_half_width(np.array([0.5, 0.7]))
    (0.6, 0.196)
    """
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    return round(float(values.mean()), 12), round(float(half), 12)


def autocast(device: torch.device, how: str) -> AbstractContextManager:
    """bfloat16 on a GPU where the config leaves the choice."""
    if device.type == "cuda" and how == "auto":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()
