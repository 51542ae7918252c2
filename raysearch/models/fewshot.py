"""Networks of few-shot recognition: a backbone makes maps of each image, a head scores queries against supports.

The heads are in `raysearch.models.fewshot_heads`.

Legend: `E` episodes, `W` ways, `K` shots, `N` queries of an episode, `B` images, `C` channels.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from raysearch.models.backbones import Backbone
from raysearch.models.precision import at_least_single

Maps = list[Tensor]  # one per tap: (..., C, h, w)


class HeadOutput(NamedTuple):
    """The scores of the queries."""

    logits: Tensor  # (E, N, W), float32
    query: Tensor | None = None  # (E, N, C) embeddings that an auxiliary loss may classify


PAIR_MAPS = 24.0  # see `FewShotHead.maps_per_pair`


class FewShotHead(Protocol):
    """A module: `head(support, query)` takes maps (E, W, K, C, h, w) and (E, N, C, h, w), one per tap.

    On a GPU, evaluation gives a head as many episodes as fit into its free memory, and sets `pairs_at_once` of a head
    that compares a part of the pairs of an episode at a time. A head may state `maps_per_pair`: the memory in which it
    compares a pair without gradients, as a multiple of an image's maps in float32; `PAIR_MAPS` where it does not.

    A head may also have, for the gallery: `helix`, a `HelixFormer` whose attention is drawn; `metric`, a `PixelMetric`
    whose matches are drawn; and `pair_maps(support, query)`, the maps of one pair that the metric compares.
    """

    episodes_at_once: int  # that evaluation on a CPU gives it at a time; 1 where a head does not state it

    def __call__(self, support: Maps, query: Maps) -> HeadOutput: ...


class Layout(NamedTuple):
    """The order of episodes' images in a batch: all supports (E, W, K), then all queries (E, N)."""

    episodes: int
    ways: int
    shots: int
    queries: int  # N, of all classes together

    def split(self, maps: Maps) -> tuple[Maps, Maps]:
        """Split maps (B, ...) of the batch into supports (E, W, K, ...) and queries (E, N, ...)."""
        supports = self.episodes * self.ways * self.shots
        shape = (self.episodes, self.ways, self.shots)
        return (
            [tap[:supports].reshape(*shape, *tap.shape[1:]) for tap in maps],
            [tap[supports:].reshape(self.episodes, self.queries, *tap.shape[1:]) for tap in maps],
        )


class EpisodeOutput(NamedTuple):
    """What an `EpisodicNetwork` returns for a batch of episodes."""

    logits: Tensor  # (E, N, W)
    query: Tensor | None = None  # (E, N, base classes): queries among the base classes
    batch: Tensor | None = None  # (B, base classes): the images of an ordinary batch


class EpisodicNetwork(nn.Module):
    """A backbone, the taps that are compared, the head, and a classifier of base classes where a loss needs one.

    Args:
        backbone: makes the maps.
        taps: which of its maps are compared, from shallow to deep.
        head: see `FewShotHead`.
        grid: side that the maps are averaged to; None leaves them as they are.
        classes: the classes of the classifier; 0: none.
        renormalization: what images go through first; None: nothing.
    """

    def __init__(
        self,
        backbone: Backbone,
        taps: Sequence[str],
        head: nn.Module,
        grid: int | None = None,
        classes: int = 0,
        renormalization: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.trunk = backbone  # the name in checkpoints
        self.taps = tuple(taps)
        self.comparer = head  # the name in checkpoints
        self.grid = grid
        self.renormalization = renormalization
        widths = dict(zip(backbone.taps, backbone.widths, strict=True))
        self.classifier = nn.Linear(sum(widths[tap] for tap in self.taps), classes) if classes else None

    @property
    def backbone(self) -> Backbone:
        """The module that makes the maps."""
        return self.trunk

    @property
    def head(self) -> nn.Module:
        """The module that scores the queries."""
        return self.comparer

    def maps(self, images: Tensor) -> Maps:
        """Return the maps (B, C, h, w) of images (B, 3, H, W), one per tap; averages are float32 or wider."""
        if self.renormalization is not None:
            images = self.renormalization(images)
        by_tap = self.backbone(images)
        maps = [by_tap[tap] for tap in self.taps]
        if self.grid is None:
            return maps
        return [nn.functional.adaptive_avg_pool2d(at_least_single(tap), self.grid) for tap in maps]

    def forward(self, images: Tensor | Maps, layout: Layout, batch: Tensor | Maps | None = None) -> EpisodeOutput:
        """Score the queries.

        Args:
            images: (B, 3, H, W) in the order of the layout, or their maps.
            layout: the layout of the episodes.
            batch: images, or maps, of an ordinary batch, which goes through the backbone by itself.

        Returns:
            See `EpisodeOutput`.
        """
        maps = self.maps(images) if isinstance(images, Tensor) else images
        compared = self.head(*layout.split(maps))
        if self.classifier is None:
            return EpisodeOutput(compared.logits)
        query = None if compared.query is None else self._classify(compared.query)
        if batch is None:
            return EpisodeOutput(compared.logits, query)
        batch_maps = self.maps(batch) if isinstance(batch, Tensor) else batch
        pooled = torch.cat([tap.mean((2, 3)) for tap in batch_maps], dim=1)
        return EpisodeOutput(compared.logits, query, self._classify(pooled))

    def _classify(self, embeddings: Tensor) -> Tensor:
        assert self.classifier is not None
        return self.classifier(at_least_single(embeddings))
