"""The pixels that LWFM-SPM (arXiv 2411.06363, figures 1 and 3) matches between a support and a query, layer by layer.

Semantic pixel matching pairs the pixels of two images at the least cost of all, 1 - cosine; the similarity of a matched
pair is the cosine after phi, and of a layer's matches the best, the k best or all count. Beside them stand the weights
that layer-wise embedding gives the pixels of both images, which the global cosine is made with.

The paper's other matchers are shown as they are: nearest neighbours may share a pixel, mutual ones leave some out, and
of a Sinkhorn plan the heaviest partner of each support pixel stands for its row.

Legend: `C_l` channels of a layer, `P = h w` pixels, `M` matches, `i` a support's pixel, `j` a query's.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from raysearch.models import spm
from raysearch.models.fewshot import Maps
from raysearch.models.lwe import attention
from raysearch.models.lwfm import PixelMetric, mean_embedding
from raysearch.models.pixel_pairs import PixelPairs, centered_pixels, directions


@dataclass(frozen=True)
class LayerMatches:
    """The matches of a pair in one layer."""

    grid: tuple[int, int]  # h and w
    pixels: np.ndarray  # (M, 2) int64: i and j, counted row by row
    similarity: np.ndarray  # (M,)
    counted: np.ndarray  # (M,) bool: those that the layer's score is the mean of
    score: float
    decides: bool  # whether the layer's score counts
    weights: tuple[np.ndarray, np.ndarray]  # (P,) of the support's and the query's pixels, of mean 1


@dataclass(frozen=True)
class Matching:
    """A pair under LWFM-SPM's metric: its logit, with one shot, is (whole + weight * score) / tau."""

    layers: tuple[LayerMatches, ...]
    whole: float  # cosine of the weighted means
    score: float  # of the matched pixels
    weight: float


@torch.no_grad()
def matching(metric: PixelMetric, support: Maps, query: Maps) -> Matching | None:
    """Match a pair as the metric does; None where it leaves matching out.

    Args:
        metric: of LWFM-SPM.
        support: a layer each (C_l, h, w).
        query: likewise.

    >>> from raysearch.models.lwfm import LayerwiseMatching
    >>> found = matching(LayerwiseMatching([8]), [torch.rand(8, 3, 3)], [torch.rand(8, 3, 3)])
    >>> sorted(found.layers[0].pixels[:, 1].tolist()), int(found.layers[0].counted.sum())
    ([0, 1, 2, 3, 4, 5, 6, 7, 8], 1)
    """
    if not metric.weight:
        return None
    s, q = centered_pixels(support), centered_pixels(query)
    pairs = [PixelPairs(*each) for each in zip(s, q, strict=True)]
    weights = _weights(metric, pairs)
    found = [_matches(metric, *each) for each in zip(pairs, _maps(metric, len(pairs)), strict=True)]
    scores = torch.stack([spm.strongest(one, _counting(metric, len(one.valid))) for _, one in found])
    best = scores.argmax().item()
    grid = (support[0].shape[-2], support[0].shape[-1])
    layers = tuple(
        _layer(grid, *one, float(score), metric.layers == "mean" or at == best, pair, _counting(metric, len(pair[0])))
        for at, (one, score, pair) in enumerate(zip(found, scores, weights, strict=True))
    )
    whole = (directions(_mean(weights, s, 0)) * directions(_mean(weights, q, 1))).sum()
    return Matching(
        layers, float(whole), float(scores.amax() if metric.layers == "max" else scores.mean()), metric.weight
    )


@torch.no_grad()
def compared_vectors(metric: PixelMetric, support: Maps, query: Maps) -> tuple[Tensor, Tensor]:
    """A vector of each side of a pair, whose inner product is the pair's logit times tau.

    With several matches that count their directions are averaged, and the inner product is near it instead.

    Args:
        metric: of LWFM-SPM.
        support: a layer each (C_l, h, w).
        query: likewise.
    """
    s, q = centered_pixels(support), centered_pixels(query)
    pairs = [PixelPairs(*each) for each in zip(s, q, strict=True)]
    weights = _weights(metric, pairs)
    sides = [[directions(_mean(weights, layers, side))] for side, layers in enumerate((s, q))]
    found = matching(metric, support, query)
    if found is not None:
        deciding = sum(one.decides for one in found.layers)
        for one, pair, phi in zip(found.layers, pairs, _maps(metric, len(pairs)), strict=True):
            share = math.sqrt(metric.weight / deciding) if one.decides else 0.0
            pixels = torch.from_numpy(one.pixels[one.counted])
            for side, vectors in enumerate((pair.support, pair.query)):
                chosen = vectors[pixels[:, side].to(vectors.device)]
                sides[side].append(share * directions(phi(chosen)).mean(0))
    return torch.cat(sides[0]), torch.cat(sides[1])


def metric_of(head: nn.Module) -> PixelMetric | None:
    """Return the metric of LWFM-SPM in a head; None where it has none."""
    metric = getattr(head, "metric", None)
    return metric if isinstance(metric, PixelMetric) else None


@torch.no_grad()
def compared_maps(head: nn.Module, support: Maps, query: Maps) -> tuple[Maps, Maps]:
    """Return the maps (C_l, h, w) of a pair that the metric compares: the head's `pair_maps`, where it has them."""
    pair_maps = getattr(head, "pair_maps", None)
    return (support, query) if pair_maps is None else pair_maps(support, query)


def _matches(metric: PixelMetric, pair: PixelPairs, phi: nn.Module) -> tuple[Tensor, spm.Matches]:
    """The pixels (P, 2) that the matcher takes together, in the order of its matches, and these."""
    cosines = pair.cosines()
    cost = (1 - cosines).nan_to_num(nan=2.0)
    similarity = directions(phi(pair.support)) @ directions(phi(pair.query)).mT
    each = torch.arange(len(cost), device=cost.device)
    matcher = metric.matcher
    if matcher is spm.hungarian:
        pixels = torch.stack([each, spm.solve(cost)], dim=1)
    elif matcher is spm.nearest_neighbour:
        pixels = torch.stack([cost.argmin(0), each], dim=1)
    elif matcher is spm.mutual_nearest_neighbour:
        pixels = torch.stack([each, cost.argmin(1)], dim=1)
    else:
        assert isinstance(matcher, functools.partial)
        pixels = torch.stack([each, spm.transport_plan(cost, **matcher.keywords).argmax(1)], dim=1)
    return pixels, matcher(cost, similarity)


def _layer(
    grid: tuple[int, int],
    pixels: Tensor,
    matches: spm.Matches,
    score: float,
    decides: bool,
    weights: tuple[Tensor, Tensor],
    counting: int,
) -> LayerMatches:
    ranked = matches.similarity.masked_fill(~matches.valid, -torch.inf).topk(counting).indices
    counted = torch.zeros_like(matches.valid)
    counted[ranked] = True
    found = matches.valid.cpu().numpy()
    joined, similarity, strong = (one.cpu().numpy()[found] for one in (pixels, matches.similarity.double(), counted))
    both = (weights[0].double().cpu().numpy(), weights[1].double().cpu().numpy())
    return LayerMatches(grid, joined, similarity, strong, score, decides, both)


def _weights(metric: PixelMetric, pairs: list[PixelPairs]) -> list[tuple[Tensor, Tensor]]:
    """Of each layer the weights (P,) of both sides."""
    if not metric.lwe:
        return [(torch.ones_like(one.support[:, 0]), torch.ones_like(one.query[:, 0])) for one in pairs]
    return [attention(one.correlations(), metric.temperature) for one in pairs]


def _mean(weights: list[tuple[Tensor, Tensor]], layers: list[Tensor], side: int) -> Tensor:
    """The weighted mean over pixels, all layers together: (C,)."""
    stacked = torch.stack([both[side] for both in weights])[None, None, None, None]
    return mean_embedding(stacked, [one[None, None, None, None] for one in layers])[0, 0, 0]


def _maps(metric: PixelMetric, layers: int) -> list[nn.Module]:
    """phi of each layer."""
    return [nn.Identity()] * layers if metric.residual is None else list(metric.residual)


def _counting(metric: PixelMetric, pixels: int) -> int:
    return {"top1": 1, "topk": metric.k, "mean": pixels}[metric.reduce]
