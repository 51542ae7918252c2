"""Networks of few-shot recognition: a trunk makes maps of each image, a comparer names queries by the supports.

Legend: `E` episodes, `W` ways, `K` shots, `N` queries of an episode, `B` images, `C` channels.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from raysearch.models.backbones import Backbone
from raysearch.models.helix.scores import relation_scores
from raysearch.models.helixformer import HelixFormer
from raysearch.models.lwfm import LayerwiseMatching, PairMatching, pool_taps

Maps = list[Tensor]  # one a tap: (..., C, h, w)


class HeadOutput(NamedTuple):
    """What a comparer says of the queries."""

    logits: Tensor  # (E, N, W), float32
    query: Tensor | None = None  # (E, N, C) embeddings that an auxiliary loss may classify


class FewShotHead(Protocol):
    """A module; `comparer(support, query)` takes maps of (E, W, K, C, h, w) and (E, N, C, h, w)."""

    episodes_at_once: int  # that fit the memory in evaluation

    def __call__(self, support: Maps, query: Maps) -> HeadOutput: ...


class Layout(NamedTuple):
    """How images of episodes lie in a batch: all supports (E, W, K), then all queries (E, N)."""

    episodes: int
    ways: int
    shots: int
    queries: int  # N, of all classes together

    def split(self, maps: Maps) -> tuple[Maps, Maps]:
        """Maps (B, ...) of the batch to (E, W, K, ...) and (E, N, ...)."""
        supports = self.episodes * self.ways * self.shots
        shape = (self.episodes, self.ways, self.shots)
        return (
            [one[:supports].reshape(*shape, *one.shape[1:]) for one in maps],
            [one[supports:].reshape(self.episodes, self.queries, *one.shape[1:]) for one in maps],
        )


class EpisodeOutput(NamedTuple):
    """What an `EpisodicNetwork` says of a batch of episodes."""

    logits: Tensor  # (E, N, W)
    query: Tensor | None = None  # (E, N, base classes): queries among the base classes
    batch: Tensor | None = None  # (B, base classes): the images of an ordinary batch


class EpisodicNetwork(nn.Module):
    """A trunk, the taps that are compared, the comparer, and a classifier of base classes where a loss asks for one.

    Args:
        trunk: makes the maps.
        taps: which of its maps, shallow to deep.
        comparer: see `Comparer`.
        grid: side that the maps are averaged to; None leaves them as they are.
        classes: of the classifier; 0: none.
    """

    def __init__(
        self, backbone: Backbone, taps: Sequence[str], head: nn.Module, grid: int | None = None, classes: int = 0
    ) -> None:
        super().__init__()
        self.trunk = backbone  # the name in checkpoints
        self.taps = tuple(taps)
        self.comparer = head  # likewise
        self.grid = grid
        widths = dict(zip(backbone.taps, backbone.widths, strict=True))
        self.classifier = nn.Linear(sum(widths[tap] for tap in self.taps), classes) if classes else None

    @property
    def backbone(self) -> Backbone:
        """What makes the maps."""
        return self.trunk

    @property
    def head(self) -> nn.Module:
        """What compares them."""
        return self.comparer

    def maps(self, images: Tensor) -> Maps:
        """Of images (B, 3, H, W), a tap each: (B, C, h, w)."""
        found = self.backbone(images)
        maps = [found[tap] for tap in self.taps]
        return maps if self.grid is None else [nn.functional.adaptive_avg_pool2d(one, self.grid) for one in maps]

    def forward(self, images: Tensor | Maps, layout: Layout, batch: Tensor | Maps | None = None) -> EpisodeOutput:
        """Name the queries.

        Args:
            images: (B, 3, H, W) in the order of the layout, or their maps.
            layout: of the episodes.
            batch: images, or maps, of an ordinary batch, which goes through the trunk by itself.
        """
        maps = self.maps(images) if isinstance(images, Tensor) else images
        compared = self.head(*layout.split(maps))
        if self.classifier is None:
            return EpisodeOutput(compared.logits)
        query = None if compared.query is None else self._classify(compared.query)
        if batch is None:
            return EpisodeOutput(compared.logits, query)
        others = self.maps(batch) if isinstance(batch, Tensor) else batch
        return EpisodeOutput(
            compared.logits, query, self._classify(torch.cat([one.mean((2, 3)) for one in others], dim=1))
        )

    def _classify(self, embedded: Tensor) -> Tensor:
        assert self.classifier is not None
        return self.classifier(embedded.float())


class CentroidHead(nn.Module):
    """The nearest mean of a class: Prototypical Networks (Snell et al., 2017) on spatially averaged features.

    Args:
        distance: "euclidean" takes the negative squared distance, "cosine" a learned multiple of the cosine.
    """

    episodes_at_once = 64

    def __init__(self, distance: str = "euclidean") -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0)) if distance == "cosine" else None

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        centres = torch.cat([one.float().mean((-2, -1)).mean(2) for one in support], dim=-1)
        queries = torch.cat([one.float().mean((-2, -1)) for one in query], dim=-1)
        if self.scale is not None:
            unit = nn.functional.normalize
            return HeadOutput(self.scale * unit(queries, dim=-1) @ unit(centres, dim=-1).mT)
        squares = queries.square().sum(-1, keepdim=True) + centres.square().sum(-1)[:, None]
        return HeadOutput(2 * queries @ centres.mT - squares)


class RelationNet(nn.Module):
    """A head on features that have not met: HelixFormer's baseline. Supports are averaged over shots.

    Args:
        head: see `raysearch.models.relation`.
    """

    episodes_at_once = 4

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        (of_support,), (of_query,) = support, query
        return HeadOutput(self.head(of_support.mean(2)[:, None], of_query[:, :, None]))


class HelixHead(nn.Module):
    """HelixFormer (arXiv 2207.00784) and a head; scores are averaged over shots.

    Args:
        helix: changes support and query by each other.
        head: scores the pairs.
        pairs_at_once: in evaluation, so that memory stays flat.
    """

    episodes_at_once = 1

    def __init__(self, helix: HelixFormer, head: nn.Module, pairs_at_once: int = 64) -> None:
        super().__init__()
        self.helix, self.head, self.pairs_at_once = helix, head, pairs_at_once

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        (of_support,), (of_query,) = support, query
        ways = of_support.shape[1]
        of_support = of_support.flatten(1, 2)
        if self.training:
            scores = self.head(*self.helix.pairs(of_support, of_query))
        else:
            scores = relation_scores(self.helix, self.head, of_support, of_query, self.pairs_at_once)
        return HeadOutput(scores.unflatten(-1, (ways, -1)).mean(-1))


class LwfmHead(nn.Module):
    """LWFM-SPM (arXiv 2411.06363).

    Args:
        metric: of the taps.
    """

    episodes_at_once = 16

    def __init__(self, metric: LayerwiseMatching) -> None:
        super().__init__()
        self.metric = metric

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        return HeadOutput(*self.metric(support, query))


class HelixLwfmHead(nn.Module):
    """HelixFormer's maps of each pair under LWFM-SPM's metric; in neither paper.

    Args:
        helix: changes support and query by each other.
        metric: compares what comes out.
        grid: side that its maps are averaged to.
    """

    episodes_at_once = 1

    def __init__(self, helix: HelixFormer, metric: PairMatching, grid: int) -> None:
        super().__init__()
        self.helix, self.metric, self.grid = helix, metric, grid

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        (of_support,), (of_query,) = support, query
        shots = of_support.shape[2]
        pairs = self.helix(of_support.flatten(1, 2), of_query)
        of_pair, of_other = (pool_taps([side], self.grid) for side in pairs)
        return HeadOutput(*self.metric(of_pair, of_other, shots))
