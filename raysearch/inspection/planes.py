"""The images of an episode as points of a plane, before and after they are compared (arXiv 2411.06363, figure 4).

Before: the mean over pixels of the maps that the backbone computes from each image alone. After: the features that the
few-shot head compares. They belong to pairs, so a query's point is the mean over its pairs with all supports, and a
support's point the mean over its pairs with all queries. No label or prediction is involved, so points that are close
were brought together by the network.

HelixFormer compares the mean over positions of its new maps. LWFM-SPM compares two vectors whose inner product is the
logit: the direction of the weighted mean, and for each layer that counts the mean direction of phi of the counted
matches, times the root of their weight.

Departures: HelixFormer transforms supports and queries by different weights, which adds a distance between them that
is the same for all classes. So each side is centered at its own mean there, and `nearest_share` is not reported.
Principal components, which are deterministic, replace a stochastic neighbor embedding. The share of variance that the
plane keeps is reported.

Legend: `W` ways, `K` shots, `Q` queries of a class, `C` channels, `N` queries and `S` supports of an episode.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from raysearch.inspection.episodes import EpisodeForward
from raysearch.inspection.image_pairs import compared_maps, compared_vectors, find_helix, find_metric
from raysearch.models import fewshot, helixformer, lwfm


@dataclass(frozen=True)
class Plane:
    """The images of an episode as points."""

    support: np.ndarray  # (W, K, 2)
    query: np.ndarray  # (W, Q, 2)
    variance: tuple[float, float]  # share of the variance along each axis
    nearest_share: float | None  # share of queries whose nearest class mean, in all dimensions, is their own class


@torch.no_grad()
def episode_planes(network: fewshot.EpisodicNetwork, episode: EpisodeForward) -> tuple[Plane, Plane | None]:
    """Project an episode before and after comparison.

    Args:
        network: in eval mode.
        episode: passed through the network.

    Returns:
        Both planes. The second is None if the head compares images without transforming pairs.
    """
    before = project_plane(_pool(episode.support), _pool(episode.query))
    pairs = _pair_features(network.head, episode)
    if pairs is None:
        return before, None
    support = _numpy(pairs[0].mean(0))
    query = _numpy(pairs[1].mean(1))
    ways = len(episode.predictions.support)
    if find_helix(network.head) is None:
        return before, project_plane(*(side.reshape(ways, -1, side.shape[-1]) for side in (support, query)))
    centered = (side - side.mean(0) for side in (support, query))
    after = project_plane(*(side.reshape(ways, -1, side.shape[-1]) for side in centered))
    return before, replace(after, nearest_share=None)


def project_plane(support: np.ndarray, query: np.ndarray) -> Plane:
    """Project supports (W, K, C) and queries (W, Q, C) on their first two principal components.

    The coordinate with the largest magnitude on each axis is positive.

    >>> plane = project_plane(np.array([[[0.0, 0.0]], [[0.0, 3.0]]]), np.array([[[0.0, 1.0]], [[0.0, 8.0]]]))
    >>> plane.query.round(9)[..., 0].tolist(), plane.variance, plane.nearest_share
    ([[-2.0], [5.0]], (1.0, 0.0), 1.0)
    """
    points = np.concatenate([support.reshape(-1, support.shape[-1]), query.reshape(-1, query.shape[-1])])
    left, lengths, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    projected = np.zeros((len(points), 2))
    projected[:, : len(lengths)] = (left * lengths)[:, :2]
    for axis in projected.T:
        axis *= -1 if axis[np.abs(axis).argmax()] < 0 else 1
    shares = np.append(lengths**2 / max(float((lengths**2).sum()), 1e-30), [0.0, 0.0])
    supports = support.shape[0] * support.shape[1]
    return Plane(
        support=projected[:supports].reshape(*support.shape[:2], 2),
        query=projected[supports:].reshape(*query.shape[:2], 2),
        variance=(float(shares[0]), float(shares[1])),
        nearest_share=_nearest_share(support, query),
    )


def _nearest_share(support: np.ndarray, query: np.ndarray) -> float:
    distances = np.linalg.norm(query[:, :, None] - support.mean(1), axis=-1)
    return float((distances.argmin(-1) == np.arange(len(query))[:, None]).mean())


def _pool(maps: fewshot.Maps) -> np.ndarray:
    """Average maps over pixels and join the taps: (W, K or Q, C)."""
    return _numpy(torch.cat([tap.float().mean((-2, -1)) for tap in maps], -1))


def _pair_features(head: nn.Module, episode: EpisodeForward) -> tuple[Tensor, Tensor] | None:
    """Return the compared features of all pairs, (N, S, C) of the supports and of the queries."""
    support = [tap.flatten(0, 1) for tap in episode.support]
    query = [tap.flatten(0, 1) for tap in episode.query]
    metric = find_metric(head)
    if metric is not None:
        return _matched_features(head, metric, support, query)
    helix = find_helix(head)
    return _attended_features(helix, support[0], query[0]) if helix is not None else None


def _attended_features(helix: helixformer.HelixFormer, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    supports = []
    queries = []
    for image in query:  # one query at a time keeps memory flat
        new_support, new_query = helix(support, image[None])
        supports.append(new_support.float().mean((-2, -1)))
        queries.append(new_query.float().mean((-2, -1)))
    return torch.cat(supports), torch.cat(queries)


def _matched_features(
    head: nn.Module, metric: lwfm.PixelMetric, support: fewshot.Maps, query: fewshot.Maps
) -> tuple[Tensor, Tensor]:
    supports = []
    queries = []
    for n in range(len(query[0])):
        image = [tap[n] for tap in query]
        maps = [compared_maps(head, [tap[s] for tap in support], image) for s in range(len(support[0]))]
        vectors = [compared_vectors(metric, *pair) for pair in maps]
        supports.append(torch.stack([pair[0] for pair in vectors]))
        queries.append(torch.stack([pair[1] for pair in vectors]))
    return torch.stack(supports), torch.stack(queries)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.double().cpu().numpy()
