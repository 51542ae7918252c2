"""The three views of an image in FCAENet: the anchor, another image of its class, and the anchor with regions erased.

Two ways to the network's outputs of a batch, behind one interface: through the pixels, or, while the trunk is
untouched, from pooled features that were computed once and that all cells share.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from raysearch.data.feed import ImageSet, augment, draw_views
from raysearch.models.fcaenet import pool
from raysearch.models.srem import erase_mask
from raysearch.studies.configs import RetrievalConfig, SremConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.common.loader import Loader
from raysearch.tasks.retrieval.feature_cache import cached
from raysearch.tasks.retrieval.network import Network

_FEATURE_BATCH = 128
_ANCHOR, _POSITIVE = 0, 1  # what a random view is for


class Outputs(NamedTuple):
    """Of a batch; before the activation, as views give them, or after it."""

    anchor: Tensor  # (B, c)
    positive: Tensor | None  # (B, c), where its term has a weight
    erased: Tensor | None
    erased_fraction: Tensor  # scalar, share of pixels
    whole: Any = None  # what the network returned for the anchors, where it was asked

    def activated(self, activate: Callable[[Tensor], Tensor]) -> "Outputs":
        """The same outputs after an activation."""
        positive = None if self.positive is None else activate(self.positive)
        erased = None if self.erased is None else activate(self.erased)
        return self._replace(anchor=activate(self.anchor), positive=positive, erased=erased)

    def also_hashed(self, views: str) -> Iterator[Tensor]:
        """The outputs besides the anchors that the hash loss is to see."""
        if views != "anchor" and self.erased is not None:
            yield self.erased
        if views == "all" and self.positive is not None:
            yield self.positive


class Wanted(NamedTuple):
    """Which views besides the anchors are to be computed."""

    positive: bool
    erased: bool


class Views(Protocol):
    worker: Worker  # whose share of a batch these views take

    def start_epoch(self) -> None:
        """Put the network into the mode of these views."""

    def forward(
        self, rows: Tensor, positives: Tensor, wanted: Wanted, at: tuple[int, int], inputs: tuple[Tensor, ...] = ()
    ) -> Outputs:
        """Outputs of the images `rows` (B,), with `positives` (B,) and erased views where they are wanted.

        Args:
            rows: of the anchors.
            positives: of images of the same classes.
            wanted: which views there are to be besides the anchors.
            at: iteration and epoch, which with the run's seed decide the random views of a row.
            inputs: what the network is given with the anchors, where it is trained through the pixels.
        """

    def encode(self, rows: Tensor) -> Tensor:
        """Outputs (m, c) before the activation of the images `rows` (m,) as they are, of the network as it is used."""


class PixelViews:
    """Views through trunk and hash layer. The mask comes from the anchors' own forward pass, which has a gradient.

    An image that is the positive of two anchors has a view for each.
    """

    def __init__(
        self, network: nn.Module, images: ImageSet, config: RetrievalConfig, seed: int, worker: Worker, loader: Loader
    ) -> None:
        self.network, self.images, self.config, self.worker = network, images, config, worker
        self.seed, self.loader = seed, loader
        self._autocast = worker.device.type == "cuda" and config.train.precision == "auto"

    def start_epoch(self) -> None:
        self.network.train()

    def forward(
        self, rows: Tensor, positives: Tensor, wanted: Wanted, at: tuple[int, int], inputs: tuple[Tensor, ...] = ()
    ) -> Outputs:
        data, size = self.config.data, (self.config.data.side, self.config.data.side)
        anchors = self._load(rows, draw_views(data.augment, rows, size, (self.seed, *at, _ANCHOR)))
        separate = wanted.erased and self.config.srem.mask_pass == "separate"
        seen = self._look(anchors) if separate else self._through(anchors, *inputs)
        more, fraction = [], anchors.new_zeros(())
        if wanted.positive:
            drawn = draw_views(data.augment, positives, size, (self.seed, *at, _POSITIVE), apart=[rows])
            more.append(self._load(positives, drawn))
        if wanted.erased:
            mask = mask_of(seen.features, self.config.srem, data.side)
            fraction = 1 - mask.mean()
            more.append((anchors * mask).contiguous(memory_format=torch.channels_last))
        if separate:
            more.insert(0, anchors)
        others = iter(self._through(torch.cat(more)).z.chunk(len(more)) if more else ())
        return Outputs(
            anchor=next(others) if separate else seen.z,
            positive=next(others) if wanted.positive else None,
            erased=next(others) if wanted.erased else None,
            erased_fraction=fraction,
            whole=seen,
        )

    @torch.no_grad()
    def encode(self, rows: Tensor) -> Tensor:
        self.network.eval()
        self.images.prefetch(rows)
        parts = [self._through(self.loader.batch(self.images, part)).z for part in rows.split(_FEATURE_BATCH)]
        return torch.cat(parts)

    def _load(self, rows: Tensor, drawn: Tensor) -> Tensor:
        return augment(self.loader.take(self.images, rows), drawn)

    @torch.no_grad()
    def _look(self, images: Tensor) -> Any:
        """A pass for the mask alone, that leaves batch statistics as they are."""
        self.network.eval()
        seen = self._through(images)
        self.network.train()
        return seen

    def _through(self, images: Tensor, *inputs: Tensor) -> Any:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self._autocast):
            return self.network(images, *inputs)


class CachedViews:
    """Views through the hash layer alone, from pooled features of the untouched trunk, without augmentation.

    Every worker computes whole batches: that is cheap, and no gradient needs to travel to keep their layers alike.
    """

    def __init__(
        self,
        network: Network,
        images: ImageSet,
        config: RetrievalConfig,
        worker: Worker,
        loader: Loader,
        key: Mapping[str, Any],
    ) -> None:
        self.network, self.images, self.config, self.key = network, images, config, key
        self.loader = loader
        self.worker = replace(worker, rank=0, world_size=1)
        self._tables: dict[str, Tensor] = {}

    @property
    def anchors(self) -> Tensor:
        """Pooled features (n, C)."""
        return self._table("anchor", {"view": "anchor"})

    @property
    def erased(self) -> Tensor:
        """Pooled features of the images with regions erased, and the erased share in a last column: (n, C + 1)."""
        return self._table("erased", {"view": "erased", **self.config.srem.model_dump()})

    def start_epoch(self) -> None:
        self.network.eval()

    def forward(
        self, rows: Tensor, positives: Tensor, wanted: Wanted, at: tuple[int, int], inputs: tuple[Tensor, ...] = ()
    ) -> Outputs:
        device, head = self.worker.device, self.network.from_pooled
        rows = rows.to(device)
        anchor = head(self.anchors[rows])
        positive = erased = None
        fraction = anchor.new_zeros(())
        if wanted.positive:
            positive = head(self.anchors[positives.to(device)])
        if wanted.erased:
            table = self.erased[rows]
            erased, fraction = head(table[:, :-1]), table[:, -1].mean()
        return Outputs(anchor, positive, erased, fraction)

    @torch.no_grad()
    def encode(self, rows: Tensor) -> Tensor:
        return self.network.from_pooled(self.anchors[rows.to(self.worker.device)])

    def _table(self, name: str, view: Mapping[str, Any]) -> Tensor:
        if name not in self._tables:
            table = cached(self.worker.cache, {**self.key, **view}, lambda: self._compute(name))
            self._tables[name] = table.to(self.worker.device)
        return self._tables[name]

    @torch.no_grad()
    def _compute(self, name: str) -> Tensor:
        training = self.network.training
        self.network.eval()
        self.images.prefetch(torch.arange(len(self.images)))
        parts = []
        for rows in torch.arange(len(self.images)).split(_FEATURE_BATCH):
            images = self.loader.batch(self.images, rows)
            features = self.network.trunk(images)
            if name == "anchor":
                parts.append(pool(features).cpu())
                continue
            mask = mask_of(features, self.config.srem, self.config.data.side)
            share = 1 - mask.mean((1, 2, 3))
            parts.append(torch.cat([pool(self.network.trunk(images * mask)), share[:, None]], dim=1).cpu())
        self.network.train(training)
        return torch.cat(parts)


def mask_of(features: Tensor, srem: SremConfig, side: int) -> Tensor:
    """SREM's mask (B, 1, side, side) under the config."""
    return erase_mask(
        features,
        (side, side),
        srem.regions,
        srem.size,
        grid=srem.grid,
        center=srem.center,
        ties=srem.ties,
        align_corners=srem.align_corners,
    )
