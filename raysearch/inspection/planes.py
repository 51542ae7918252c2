"""The images of an episode as points of a plane, before and after they met (LWFM-SPM, arXiv 2411.06363, figure 4).

Before: means over pixels of the maps that the trunk makes of each image alone. After: what the comparer compares, which
belongs to pairs; a query's point is the mean over its pairs with all supports, a support's over those with all queries.
No label and no prediction has a part in it, so what lies together was brought together by the network.

What is compared is, of HelixFormer, the mean over positions of its new maps; of LWFM-SPM the two vectors whose inner
products are the logit: the direction of the weighted mean, and of each layer that counts the mean direction of phi of
the counted matches, times the root of their weight.

Departures: HelixFormer changes supports and queries by weights of their own, which puts a distance between them that
is the same for all classes; so there, after, each side is taken from its own mean, and what is near is not told.
Principal components, the same each time, stand in place of a stochastic embedding of neighbours; the share of variance
that their plane keeps is told.

Legend: `W` ways, `K` shots, `Q` queries of a class, `C` channels.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from raysearch.inspection.cross_attention import helix_of
from raysearch.inspection.episodes import EpisodeForward
from raysearch.inspection.matched_pixels import compared_maps, compared_vectors, metric_of
from raysearch.models.fewshot import EpisodicNetwork, Maps
from raysearch.models.helixformer import HelixFormer
from raysearch.models.lwfm import PixelMetric


@dataclass(frozen=True)
class Plane:
    """Points of an episode's images."""

    support: np.ndarray  # (W, K, 2)
    query: np.ndarray  # (W, Q, 2)
    kept: tuple[float, float]  # share of the variance along each axis
    near: float | None  # share of queries whose nearest mean of supports, in all dimensions, is of their own class


@torch.no_grad()
def planes(network: EpisodicNetwork, seen: EpisodeForward) -> tuple[Plane, Plane | None]:
    """Before and after; None after a comparer under which images do not meet before they are compared.

    Args:
        network: in eval mode.
        seen: an episode in it.
    """
    before = plane(*(_numpy(torch.cat([one.float().mean((-2, -1)) for one in maps], -1)) for maps in _sides(seen)))
    pairs = _pairs(network.head, seen)
    if pairs is None:
        return before, None
    of_support, of_query = (_numpy(one.mean(side)) for side, one in enumerate(pairs))
    ways, apart = len(seen.answers.support), helix_of(network.head) is not None
    if apart:
        of_support, of_query = (one - one.mean(0) for one in (of_support, of_query))
    after = plane(*(one.reshape(ways, -1, one.shape[-1]) for one in (of_support, of_query)))
    return before, replace(after, near=None) if apart else after


def plane(support: np.ndarray, query: np.ndarray) -> Plane:
    """Project supports (W, K, C) and queries (W, Q, C) on their first two principal components.

    Each axis points to where its largest coordinate is positive.

    >>> flat = plane(np.array([[[0.0, 0.0]], [[0.0, 3.0]]]), np.array([[[0.0, 1.0]], [[0.0, 8.0]]]))
    >>> flat.query.round(9)[..., 0].tolist(), flat.kept, flat.near
    ([[-2.0], [5.0]], (1.0, 0.0), 1.0)
    """
    points = np.concatenate([support.reshape(-1, support.shape[-1]), query.reshape(-1, query.shape[-1])])
    centred = points - points.mean(0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    padded = np.zeros((len(points), 2))
    padded[:, : len(lengths)] = (left * lengths)[:, :2]
    for axis in padded.T:
        axis *= -1 if axis[np.abs(axis).argmax()] < 0 else 1
    shares = np.append(lengths**2 / max(float((lengths**2).sum()), 1e-30), [0.0, 0.0])
    taken = support.shape[0] * support.shape[1]
    return Plane(
        padded[:taken].reshape(*support.shape[:2], 2),
        padded[taken:].reshape(*query.shape[:2], 2),
        (float(shares[0]), float(shares[1])),
        _near(support, query),
    )


def _near(support: np.ndarray, query: np.ndarray) -> float:
    distances = np.linalg.norm(query[:, :, None] - support.mean(1), axis=-1)
    return float((distances.argmin(-1) == np.arange(len(query))[:, None]).mean())


def _pairs(comparer: nn.Module, seen: EpisodeForward) -> tuple[Tensor, Tensor] | None:
    """What is compared of all pairs: (N, S, C) of the supports and of the queries."""
    support, query = ([one.flatten(0, 1) for one in maps] for maps in _sides(seen))
    metric, helix = metric_of(comparer), helix_of(comparer)
    if metric is not None:
        return _matched(comparer, metric, support, query)
    return _attended(helix, support[0], query[0]) if helix is not None else None


def _attended(helix: HelixFormer, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    rows = [helix(support, one[None]) for one in query]  # a query at a time, so that memory stays flat
    of_support, of_query = (
        torch.cat([side.float().mean((-2, -1)) for side in sides]) for sides in zip(*rows, strict=True)
    )
    return of_support, of_query


def _matched(comparer: nn.Module, metric: PixelMetric, support: Maps, query: Maps) -> tuple[Tensor, Tensor]:
    rows = []
    for n in range(len(query[0])):
        of_query = [one[n] for one in query]
        pairs = [compared_maps(comparer, [one[k] for one in support], of_query) for k in range(len(support[0]))]
        rows.append(
            [torch.stack(side) for side in zip(*(compared_vectors(metric, *one) for one in pairs), strict=True)]
        )
    return torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows])


def _sides(seen: EpisodeForward) -> tuple[Maps, Maps]:
    return seen.support, seen.query


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.double().cpu().numpy()
