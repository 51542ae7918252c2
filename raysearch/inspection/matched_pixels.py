"""The pixels that LWFM-SPM (arXiv 2411.06363, figures 1 and 3) matches between a support and a query, layer by layer.

Semantic pixel matching pairs the pixels of two images at the lowest total cost, where cost is 1 - cosine. The
similarity of a matched pair is the cosine after phi. The score of a layer is the mean similarity of its best match, its
k best matches, or all matches. `weights` are the weights that layer-wise embedding gives to the pixels of both images;
the global cosine is computed with them.

The paper's other matchers are shown as they are. Nearest neighbors may share a pixel, and mutual neighbors leave some
out. A row of a Sinkhorn plan is represented by the heaviest partner of its support pixel.

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
    counted: np.ndarray  # (M,) bool: the matches that the layer's score averages
    score: float
    decides: bool  # whether the pair's score uses the layer's score
    weights: tuple[np.ndarray, np.ndarray]  # (P,) of the support's and the query's pixels, with mean 1


@dataclass(frozen=True)
class Matching:
    """A pair under LWFM-SPM's metric. With one shot its logit is (whole + weight * score) / tau."""

    layers: tuple[LayerMatches, ...]
    whole: float  # cosine of the weighted means
    score: float  # of the matched pixels
    weight: float


@torch.no_grad()
def match_pixels(metric: PixelMetric, support: Maps, query: Maps) -> Matching | None:
    """Match the pixels of a pair as the metric does; None if the metric uses no matching.

    Args:
        metric: of LWFM-SPM.
        support: one map per layer (C_l, h, w).
        query: one map per layer (C_l, h, w).

    >>> from raysearch.models.lwfm import LayerwiseMatching
    >>> matching = match_pixels(LayerwiseMatching([8]), [torch.rand(8, 3, 3)], [torch.rand(8, 3, 3)])
    >>> sorted(matching.layers[0].pixels[:, 1].tolist()), int(matching.layers[0].counted.sum())
    ([0, 1, 2, 3, 4, 5, 6, 7, 8], 1)
    """
    if not metric.weight:
        return None
    s = centered_pixels(support)
    q = centered_pixels(query)
    pairs = [PixelPairs(*layer) for layer in zip(s, q, strict=True)]
    weights = _layer_weights(metric, pairs)
    matched = [_match_layer(metric, pair, phi) for pair, phi in zip(pairs, _phi(metric, len(pairs)), strict=True)]
    scores = torch.stack([spm.strongest(matches, _counted(metric, len(matches.valid))) for _, matches in matched])
    best = scores.argmax().item()
    grid = (support[0].shape[-2], support[0].shape[-1])
    layers = []
    for index, (pixels, matches) in enumerate(matched):
        decides = metric.layers == "mean" or index == best
        layers.append(_layer_matches(metric, grid, pixels, matches, float(scores[index]), decides, weights[index]))
    whole = (directions(_weighted_mean(weights, s, 0)) * directions(_weighted_mean(weights, q, 1))).sum()
    score = scores.amax() if metric.layers == "max" else scores.mean()
    return Matching(tuple(layers), float(whole), float(score), metric.weight)


@torch.no_grad()
def compared_vectors(metric: PixelMetric, support: Maps, query: Maps) -> tuple[Tensor, Tensor]:
    """Return one vector per side of a pair, whose inner product is the pair's logit times tau.

    If several matches count, their directions are averaged, and the inner product is only close to that value.

    Args:
        metric: of LWFM-SPM.
        support: one map per layer (C_l, h, w).
        query: one map per layer (C_l, h, w).
    """
    s = centered_pixels(support)
    q = centered_pixels(query)
    pairs = [PixelPairs(*layer) for layer in zip(s, q, strict=True)]
    weights = _layer_weights(metric, pairs)
    sides = [[directions(_weighted_mean(weights, layers, side))] for side, layers in enumerate((s, q))]
    matching = match_pixels(metric, support, query)
    if matching is not None:
        deciding = sum(layer.decides for layer in matching.layers)
        for layer, pair, phi in zip(matching.layers, pairs, _phi(metric, len(pairs)), strict=True):
            share = math.sqrt(metric.weight / deciding) if layer.decides else 0.0
            pixels = torch.from_numpy(layer.pixels[layer.counted])
            for side, vectors in enumerate((pair.support, pair.query)):
                matched = vectors[pixels[:, side].to(vectors.device)]
                sides[side].append(share * directions(phi(matched)).mean(0))
    return torch.cat(sides[0]), torch.cat(sides[1])


def find_metric(head: nn.Module) -> PixelMetric | None:
    """Return LWFM-SPM's metric inside a few-shot head; None if there is none."""
    metric = getattr(head, "metric", None)
    return metric if isinstance(metric, PixelMetric) else None


@torch.no_grad()
def compared_maps(head: nn.Module, support: Maps, query: Maps) -> tuple[Maps, Maps]:
    """Return the maps (C_l, h, w) of a pair that the metric compares: the head's `pair_maps` if it has that method."""
    pair_maps = getattr(head, "pair_maps", None)
    return (support, query) if pair_maps is None else pair_maps(support, query)


def _match_layer(metric: PixelMetric, pair: PixelPairs, phi: nn.Module) -> tuple[Tensor, spm.Matches]:
    """Return the pixels (P, 2) that the matcher pairs, in the order of its matches, and the matches."""
    cosines = pair.cosines()
    cost = (1 - cosines).nan_to_num(nan=2.0)
    similarity = directions(phi(pair.support)) @ directions(phi(pair.query)).mT
    every = torch.arange(len(cost), device=cost.device)
    matcher = metric.matcher
    if matcher is spm.hungarian:
        pixels = torch.stack([every, spm.solve(cost)], dim=1)
    elif matcher is spm.nearest_neighbour:
        pixels = torch.stack([cost.argmin(0), every], dim=1)
    elif matcher is spm.mutual_nearest_neighbour:
        pixels = torch.stack([every, cost.argmin(1)], dim=1)
    else:
        assert isinstance(matcher, functools.partial)
        pixels = torch.stack([every, spm.transport_plan(cost, **matcher.keywords).argmax(1)], dim=1)
    return pixels, matcher(cost, similarity)


def _layer_matches(
    metric: PixelMetric,
    grid: tuple[int, int],
    pixels: Tensor,
    matches: spm.Matches,
    score: float,
    decides: bool,
    weights: tuple[Tensor, Tensor],
) -> LayerMatches:
    """Convert a layer's matches to numpy, without the pixels that have no partner."""
    similarity = matches.similarity.masked_fill(~matches.valid, -torch.inf)
    counted = torch.zeros_like(matches.valid)
    counted[similarity.topk(_counted(metric, len(matches.valid))).indices] = True
    valid = matches.valid.cpu().numpy()
    return LayerMatches(
        grid=grid,
        pixels=pixels.cpu().numpy()[valid],
        similarity=matches.similarity.double().cpu().numpy()[valid],
        counted=counted.cpu().numpy()[valid],
        score=score,
        decides=decides,
        weights=(weights[0].double().cpu().numpy(), weights[1].double().cpu().numpy()),
    )


def _layer_weights(metric: PixelMetric, pairs: list[PixelPairs]) -> list[tuple[Tensor, Tensor]]:
    """Return the weights (P,) of both sides, for each layer."""
    if not metric.lwe:
        return [(torch.ones_like(pair.support[:, 0]), torch.ones_like(pair.query[:, 0])) for pair in pairs]
    return [attention(pair.correlations(), metric.temperature) for pair in pairs]


def _weighted_mean(weights: list[tuple[Tensor, Tensor]], layers: list[Tensor], side: int) -> Tensor:
    """Average the pixels of one side with their weights, all layers together: (C,)."""
    stacked = torch.stack([both[side] for both in weights])[None, None, None, None]
    return mean_embedding(stacked, [layer[None, None, None, None] for layer in layers])[0, 0, 0]


def _phi(metric: PixelMetric, layers: int) -> list[nn.Module]:
    """Return phi of each layer."""
    return [nn.Identity()] * layers if metric.residual is None else list(metric.residual)


def _counted(metric: PixelMetric, pixels: int) -> int:
    """Return how many matches of a layer its score averages."""
    return {"top1": 1, "topk": metric.k, "mean": pixels}[metric.reduce]
