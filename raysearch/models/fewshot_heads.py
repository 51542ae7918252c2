"""Heads of few-shot recognition: `head(support, query) -> HeadOutput`; see `raysearch.models.fewshot.FewShotHead`.

- `CentroidHead`: Snell, Swersky, Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017, arXiv 1703.05175.
  A class is the mean c of its supports' features; a query x belongs to the nearest one:

      logit = -|x - c|^2,   or   scale * cos(x, c)

  Departures: features are averaged over positions; the scale of the cosine is learned.
- `RelationNet`: Sung and others, CVPR 2018, with the head of `raysearch.models.relation`.
- `HelixHead`: HelixFormer, see `raysearch.models.helixformer`.
- `LwfmHead`: LWFM-SPM, see `raysearch.models.lwfm`.
- `HelixLwfmHead`: HelixFormer's maps under LWFM-SPM's metric, which neither paper has.

Legend: `E` episodes, `W` ways, `K` shots, `N` queries, `C` channels.
"""

import torch
from torch import Tensor, nn

from raysearch.models import helixformer, lwfm, precision
from raysearch.models.fewshot import PAIR_MAPS, HeadOutput, Maps
from raysearch.models.helix import shot_pairs
from raysearch.models.helix.scores import relation_scores


class CentroidHead(nn.Module):
    """The nearest mean of a class (Prototypical Networks), on spatially averaged features.

    Args:
        distance: "euclidean": the negative squared distance; "cosine": a learned multiple of the cosine.
    """

    episodes_at_once = 64
    maps_per_pair = 0.0  # it compares means over positions

    def __init__(self, distance: str = "euclidean") -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0)) if distance == "cosine" else None

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        """Return logits (E,N,W) from maps of each tap: supports (E,W,K,C,h,w), queries (E,N,C,h,w)."""
        centroids = torch.cat([precision.at_least_single(tap).mean((-2, -1)).mean(2) for tap in support], dim=-1)
        queries = torch.cat([precision.at_least_single(tap).mean((-2, -1)) for tap in query], dim=-1)
        if self.scale is not None:
            unit = nn.functional.normalize
            return HeadOutput(self.scale * unit(queries, dim=-1) @ unit(centroids, dim=-1).mT)
        squares = queries.square().sum(-1, keepdim=True) + centroids.square().sum(-1)[:, None]
        return HeadOutput(2 * queries @ centroids.mT - squares)


class RelationNet(nn.Module):
    """A relation head on features that have not attended to each other: HelixFormer's baseline.

    Supports are averaged over shots.

    Args:
        head: see `raysearch.models.relation`.
    """

    episodes_at_once = 4
    maps_per_pair = 8.0  # of one convolution, with its norm and activation

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        """Return relation scores (E,N,W) of the queries with the mean map of each class's supports."""
        support_maps = _only_tap(support)
        query_maps = _only_tap(query)
        return HeadOutput(self.head(support_maps.mean(2)[:, None], query_maps[:, :, None]))


class HelixHead(nn.Module):
    """HelixFormer and a relation head. Scores are averaged over shots.

    Args:
        helix: changes support and query by each other.
        head: scores the pairs.
        pairs_at_once: in evaluation, so that memory does not grow with the number of pairs. A GPU's memory
            decides it, see `FewShotHead`.
        pairs: maps that are compared, see `raysearch.models.helix.shot_pairs`: "each" or "joined".
    """

    episodes_at_once = 1

    def __init__(
        self, helix: helixformer.HelixFormer, head: nn.Module, pairs_at_once: int = 64, pairs: str = "each"
    ) -> None:
        super().__init__()
        self.helix = helix
        self.head = head
        self.pairs_at_once = pairs_at_once
        self.arrange = shot_pairs.ARRANGEMENTS[pairs]

    @property
    def maps_per_pair(self) -> float:
        """See `FewShotHead`."""
        return PAIR_MAPS * self.helix.widening

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        """Return scores (E,N,W): each pair is scored, and a class gets the mean over its supports."""
        support_maps = _only_tap(support)
        query_maps = _only_tap(query)
        ways, shots = support_maps.shape[1:3]
        support_maps = support_maps.flatten(1, 2)
        if self.training:
            scores = self.head(*self.arrange(*self.helix.pairs(support_maps, query_maps), shots))
        else:
            scores = relation_scores(
                self.helix, self.head, support_maps, query_maps, self.pairs_at_once, self.arrange, shots
            )
        return HeadOutput(scores.unflatten(-1, (ways, -1)).mean(-1))


class LwfmHead(nn.Module):
    """LWFM-SPM.

    Args:
        metric: compares the taps.
    """

    episodes_at_once = 16
    maps_per_pair = 2.0  # correlations of pixels, and the sets of columns of their assignments

    def __init__(self, metric: lwfm.LayerwiseMatching) -> None:
        super().__init__()
        self.metric = metric

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        """Return logits (E,N,W) and the queries' features (E,N,C) for the auxiliary loss."""
        return HeadOutput(*self.metric(support, query))


class HelixLwfmHead(nn.Module):
    """HelixFormer's maps of each pair under LWFM-SPM's metric.

    Args:
        helix: changes support and query by each other.
        metric: compares the changed maps.
        grid: side that the changed maps are averaged to.
    """

    episodes_at_once = 1

    def __init__(self, helix: helixformer.HelixFormer, metric: lwfm.PairMatching, grid: int) -> None:
        super().__init__()
        self.helix = helix
        self.metric = metric
        self.grid = grid

    @property
    def maps_per_pair(self) -> float:
        """See `FewShotHead`."""
        return PAIR_MAPS * self.helix.widening

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        """Return logits (E,N,W) and the queries' features (E,N,C), from each pair's maps after HelixFormer."""
        support_maps = _only_tap(support)
        shots = support_maps.shape[2]
        pairs = self.helix(support_maps.flatten(1, 2), _only_tap(query))
        support_pairs, query_pairs = (lwfm.pool_taps([side], self.grid) for side in pairs)
        return HeadOutput(*self.metric(support_pairs, query_pairs, shots))

    def pair_maps(self, support: Maps, query: Maps) -> tuple[Maps, Maps]:
        """Return the maps (C, h, w) that the metric compares, for a support and a query (C, h, w)."""
        pair = self.helix.pairs(_only_tap(support)[None], _only_tap(query)[None])
        new_support, new_query = (lwfm.pool_taps([side], self.grid)[0][0, 0] for side in pair)
        return [new_support], [new_query]


def _only_tap(maps: Maps) -> Tensor:
    (tap,) = maps
    return tap
