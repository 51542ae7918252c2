"""The three views of an image in FCAENet: the anchor, another image of its class, and the anchor with regions erased.

The network's outputs of a batch come in two ways behind one interface: through the pixels, or, while the backbone is
untouched, from pooled features that are computed once and shared by all cells.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from raysearch.data.feed import ImageSet, augment, draw_views, normalize
from raysearch.models.fcaenet import pool
from raysearch.models.srem import erase_mask
from raysearch.studies.configs import RetrievalConfig, SremConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.common import Loader, autocast, cached, exact_float32
from raysearch.tasks.retrieval.encoding import ImageEncoder
from raysearch.tasks.retrieval.network import Network
from raysearch.tasks.retrieval.sampling import Epoch

_FEATURE_BATCH = 128
_ANCHOR = 0  # roles of a random view, part of the key of its draw
_POSITIVE = 1


class Outputs(NamedTuple):
    """Network outputs of a batch: before the activation, as views return them, or after it."""

    anchor: Tensor  # (B, c)
    positive: Tensor | None  # (B, c), where its term has a weight
    erased: Tensor | None
    erased_fraction: Tensor  # scalar, share of pixels
    whole: Any = None  # everything that the network returned for the anchors, if it was called for them

    def activated(self, activate: Callable[[Tensor], Tensor]) -> "Outputs":
        """Return the outputs after an activation."""
        positive = None if self.positive is None else activate(self.positive)
        erased = None if self.erased is None else activate(self.erased)
        return self._replace(anchor=activate(self.anchor), positive=positive, erased=erased)

    def also_hashed(self, views: str) -> Iterator[Tensor]:
        """Yield the outputs besides the anchors that the hash loss includes, by the config's `adsh.views`."""
        if views != "anchor" and self.erased is not None:
            yield self.erased
        if views == "all" and self.positive is not None:
            yield self.positive


class ExtraViews(NamedTuple):
    """The views besides the anchors that are to be computed."""

    positive: bool
    erased: bool


class Batch(NamedTuple):
    """The images of a step, and the views of them that are to be computed; all on the device."""

    positions: Tensor  # (B,) of the anchors in the epoch's sample
    rows: Tensor  # (B,) of the anchors
    positives: Tensor  # (B,) rows of images of the same classes
    inputs: Tensor  # (B, k) random inputs of the network
    anchor_views: Tensor  # (B, v) draws of `draw_views`
    positive_views: Tensor  # (B, v)
    extra: ExtraViews
    images: Iterator[Tensor]  # bytes of the anchors, then of the positives if these are computed


class Views(ABC):
    """A way from the images of a batch to the network's outputs.

    Args:
        network: the network whose outputs are computed.
        images: images of the database.
        config: config of the run.
        worker: the worker whose share of a batch these views take.
        loader: loads the images onto the device.
    """

    def __init__(
        self, network: Network, images: ImageSet, config: RetrievalConfig, worker: Worker, loader: Loader
    ) -> None:
        self.network = network
        self.images = images
        self.config = config
        self.worker = worker
        self.loader = loader

    @abstractmethod
    def start_epoch(self) -> None:
        """Put the network into the mode of these views."""

    def batches(self, epoch: Epoch, extra: ExtraViews, place: tuple[int, int]) -> Generator[Batch]:
        """Yield the batches of an epoch. Their numbers go to the device at the start, in one transfer.

        Args:
            epoch: the images of this worker.
            extra: the views that are to be computed besides the anchors.
            place: iteration and epoch, which decide the random views of a row together with the run's seed.
        """
        numbers = self.loader.upload(
            epoch.positions, epoch.rows, epoch.positives, epoch.inputs, *self._draw(epoch, extra, place)
        )
        with contextlib.closing(self._load(epoch, extra)) as images:
            for steps in zip(*(number.split(epoch.sizes) for number in numbers), strict=True):
                positions, rows, positives, inputs, anchor_views, positive_views = steps
                yield Batch(positions, rows, positives, inputs, anchor_views, positive_views, extra, images)

    @abstractmethod
    def forward(self, batch: Batch, *inputs: Tensor) -> Outputs:
        """Compute the outputs of a batch.

        Args:
            batch: of `batches`.
            inputs: of the network besides the anchors, when it is trained through the pixels.
        """

    @abstractmethod
    def encode(self, rows: Tensor) -> Tensor:
        """Return the outputs (m, c), before the activation, of the images `rows` (m,) without augmentation.

        All workers must call this together, with networks that are alike.
        """

    def _draw(self, epoch: Epoch, extra: ExtraViews, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Draw the views of anchors and positives."""
        nothing = torch.zeros(len(epoch.rows), 0)
        return nothing, nothing

    def _load(self, epoch: Epoch, extra: ExtraViews) -> Generator[Tensor]:
        """Yield the bytes of anchors and positives, in the order of `forward`."""
        yield from ()


class PixelViews(Views):
    """Views through backbone and hash layer. The mask comes from the anchors' own forward pass, which has a gradient.

    An image that is the positive of two anchors has a view for each.

    Args:
        network: the network; it is wrapped for training.
        images: the images of the database.
        config: the config of the run.
        seed: the seed of the run.
        worker: the worker that the run is trained on.
        loader: the loader of the images.
    """

    def __init__(
        self, network: Network, images: ImageSet, config: RetrievalConfig, seed: int, worker: Worker, loader: Loader
    ) -> None:
        super().__init__(network, images, config, worker, loader)
        self.seed = seed
        self._wrapped = worker.wrap(network)
        self._encoder = ImageEncoder(loader, worker, config.train.precision)

    def start_epoch(self) -> None:
        """Put the network into training mode."""
        self.network.train()

    def forward(self, batch: Batch, *inputs: Tensor) -> Outputs:
        """Compute the outputs of a batch through the pixels; see `Views.forward`."""
        anchors = augment(next(batch.images), batch.anchor_views)
        separate = batch.extra.erased and self.config.srem.mask_pass == "separate"
        output = self._at_rest(anchors) if separate else None
        with self._autocast():  # for both passes, so that weights are converted once
            if output is None:
                output = self._wrapped(anchors, *inputs)
            batches = [anchors] if separate else []
            fraction = anchors.new_zeros(())
            if batch.extra.positive:
                batches.append(augment(next(batch.images), batch.positive_views))
            if batch.extra.erased:
                mask = srem_mask(output.features, self.config.srem, self.config.data.side)
                fraction = 1 - mask.mean()
                batches.append((anchors * mask).contiguous(memory_format=torch.channels_last))
            outputs = iter(self._wrapped(torch.cat(batches)).z.chunk(len(batches)) if batches else ())
        return Outputs(
            anchor=next(outputs) if separate else output.z,
            positive=next(outputs) if batch.extra.positive else None,
            erased=next(outputs) if batch.extra.erased else None,
            erased_fraction=fraction,
            whole=output,
        )

    def encode(self, rows: Tensor) -> Tensor:
        """Return the outputs (m, c) of images (m,) without augmentation."""
        return self._encoder.outputs(self.network, self.images, rows, _FEATURE_BATCH)

    def _draw(self, epoch: Epoch, extra: ExtraViews, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        data = self.config.data
        size = (data.side, data.side)
        key = (self.seed, *place)
        anchors = draw_views(data.augment, epoch.rows, size, (*key, _ANCHOR))
        if not extra.positive:
            return anchors, anchors.new_zeros(len(anchors), 0)
        return anchors, draw_views(data.augment, epoch.positives, size, (*key, _POSITIVE), apart=[epoch.rows])

    def _load(self, epoch: Epoch, extra: ExtraViews) -> Generator[Tensor]:
        return self.loader.batches(self.images, epoch.loads(extra.positive))

    @torch.no_grad()
    def _at_rest(self, images: Tensor) -> Any:
        """Return the network's output for the mask alone; batch statistics stay as they are."""
        self.network.eval()
        with self._autocast():
            output = self._wrapped(images)
        self.network.train()
        return output

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.loader.device, self.config.train.precision)


class CachedViews(Views):
    """Views through the hash layer alone, from pooled features of the untouched backbone, without augmentation.

    Every worker computes whole batches: that is cheap, and their layers stay alike without exchanging gradients.

    Args:
        network: whose hash layer is used.
        images: the images of the database.
        config: the config of the run.
        worker: the worker that the run is trained on.
        loader: the loader of the images.
        key: the key of the feature cache.
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
        super().__init__(network, images, config, replace(worker, rank=0, world_size=1), loader)
        self.key = key
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
        """Put the network into evaluation mode: no batch norm of the backbone is used."""
        self.network.eval()

    def forward(self, batch: Batch, *inputs: Tensor) -> Outputs:
        """Compute the outputs of a batch from pooled features; see `Views.forward`."""
        anchor = self.network.from_pooled(self.anchors[batch.rows])
        positive = erased = None
        fraction = anchor.new_zeros(())
        if batch.extra.positive:
            positive = self.network.from_pooled(self.anchors[batch.positives])
        if batch.extra.erased:
            table = self.erased[batch.rows]
            erased = self.network.from_pooled(table[:, :-1])
            fraction = table[:, -1].mean()
        return Outputs(anchor, positive, erased, fraction)

    @torch.no_grad()
    def encode(self, rows: Tensor) -> Tensor:
        """Return the outputs (m, c) of images (m,) from their pooled features."""
        (rows,) = self.loader.upload(rows)
        return self.network.from_pooled(self.anchors[rows])

    def _table(self, name: str, view: Mapping[str, Any]) -> Tensor:
        if name not in self._tables:
            table = cached(self.worker.cache, {**self.key, **view}, lambda: self._compute(name))
            self._tables[name] = table.to(self.worker.device)
        return self._tables[name]

    @torch.no_grad()
    def _compute(self, name: str) -> Tensor:
        training = self.network.training
        self.network.eval()
        rows = torch.arange(len(self.images))
        self.images.prefetch(rows)
        parts = []
        with exact_float32(self.worker.device, self.config.train.precision):
            for taken in self.loader.batches(self.images, rows.split(_FEATURE_BATCH)):
                images = normalize(taken)
                features = self.network.feature_map(images)
                if name == "anchor":
                    parts.append(pool(features).cpu())
                    continue
                mask = srem_mask(features, self.config.srem, self.config.data.side)
                share = 1 - mask.mean((1, 2, 3))
                erased = pool(self.network.feature_map(images * mask))
                parts.append(torch.cat([erased, share[:, None]], dim=1).cpu())
        self.network.train(training)
        return torch.cat(parts)


def srem_mask(features: Tensor, section: SremConfig, side: int) -> Tensor:
    """Return SREM's mask under the config: `features` (B, C, h, w) to (B, 1, side, side)."""
    return erase_mask(
        features,
        (side, side),
        section.regions,
        section.size,
        grid=section.grid,
        center=section.center,
        ties=section.ties,
        align_corners=section.align_corners,
    )
