"""Pairs of a support and a query: the places of one image that a method relates to places of the other.

HelixFormer attends across images (arXiv 2207.00784, figure 2). In relation mining every position of one image, the
source, distributes its attention over the positions of the other image, the target. The attention of a source position
sums to 1 for each head. `received` is the mean attention that each target position receives. `from_marks` follows five
source positions, the same in every image, so that none is chosen for its looks. Departure: heads are averaged. Values
are not rescaled: uniform attention is 1 / (h w), and brighter means more.

LWFM-SPM matches pixels, layer by layer (arXiv 2411.06363, figures 1 and 3). Semantic pixel matching pairs the pixels of
two images at the lowest total cost, where cost is 1 - cosine. The similarity of a matched pair is the cosine after phi.
The score of a layer is the mean similarity of its best match, its k best matches, or all matches. `weights` are the
weights that layer-wise embedding gives to the pixels of both images; the global cosine is computed with them. The
paper's other matchers are shown as they are. Nearest neighbors may share a pixel, and mutual neighbors leave some out.
A row of a Sinkhorn plan is represented by the heaviest partner of its support pixel.

Legend: `C` channels, `H x W` source positions, `h x w` target positions; `C_l` channels of a layer, `P = h w` pixels,
`M` matches, `i` a support's pixel, `j` a query's.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from raysearch.models import helixformer, pixel_pairs, spm
from raysearch.models.fewshot import Maps
from raysearch.models.helix import attention_maps, direction
from raysearch.models.lwe import attention
from raysearch.models.lwfm import PixelMetric, mean_embedding

MARKS = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))  # fractions of height and width


@dataclass(frozen=True)
class CrossAttention:
    """The attention of one side of a pair, the source, to the other."""

    source: direction.SideName
    received: np.ndarray  # (h, w) of the target, the mean over source positions; sums to 1
    marks: tuple[tuple[float, float], ...]  # centers of the marked source positions, fractions of height and width
    from_marks: np.ndarray  # (marks, h, w) of the target; each map sums to 1

    @property
    def peak(self) -> float:
        """The largest attention that a position receives, as a multiple of uniform attention."""
        return float(self.received.max() * self.received.size)


def pair_attention(
    helix: helixformer.HelixFormer, support: Tensor, query: Tensor, layer: int = 0
) -> tuple[CrossAttention, ...]:
    """Compute the attention of a pair in each direction that the design has; none without relation mining.

    Args:
        helix: in eval mode.
        support: features (C, H, W).
        query: features (C, H, W).
        layer: index, from 0.

    >>> both = pair_attention(helixformer.HelixFormer(8, heads=2).eval(), torch.randn(8, 4, 4), torch.randn(8, 4, 4))
    >>> [(side.source, side.received.shape, side.from_marks.shape) for side in both]
    [('support', (4, 4), (5, 4, 4)), ('query', (4, 4), (5, 4, 4))]
    """
    maps = attention_maps.attention_maps(helix, support, query, layer) if len(helix.layers) else {}
    return tuple(_summarize(side, attention.mean(0).double().cpu().numpy()) for side, attention in maps.items())


def find_helix(head: nn.Module) -> helixformer.HelixFormer | None:
    """Return the HelixFormer inside a few-shot head; None if there is none."""
    helix = getattr(head, "helix", None)
    return helix if isinstance(helix, helixformer.HelixFormer) else None


def _summarize(source: direction.SideName, attended: np.ndarray) -> CrossAttention:
    """Summarize attention (H, W, h, w)."""
    height, width = attended.shape[:2]
    positions = [(int(down * height), int(across * width)) for down, across in MARKS]
    centers = tuple(((row + 0.5) / height, (column + 0.5) / width) for row, column in positions)
    from_marks = np.stack([attended[position] for position in positions])
    return CrossAttention(source, attended.mean((0, 1)), centers, from_marks)


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
        metric: the metric of LWFM-SPM.
        support: one map per layer (C_l, h, w).
        query: one map per layer (C_l, h, w).

    >>> from raysearch.models.lwfm import LayerwiseMatching
    >>> matching = match_pixels(LayerwiseMatching([8]), [torch.rand(8, 3, 3)], [torch.rand(8, 3, 3)])
    >>> sorted(matching.layers[0].pixels[:, 1].tolist()), int(matching.layers[0].counted.sum())
    ([0, 1, 2, 3, 4, 5, 6, 7, 8], 1)
    """
    if not metric.weight:
        return None
    s = pixel_pairs.centered_pixels(support)
    q = pixel_pairs.centered_pixels(query)
    pairs = [pixel_pairs.PixelPairs(*layer) for layer in zip(s, q, strict=True)]
    weights = _layer_weights(metric, pairs)
    matched = [_match_layer(metric, pair, phi) for pair, phi in zip(pairs, _phi(metric, len(pairs)), strict=True)]
    scores = torch.stack([spm.strongest(matches, _counted(metric, len(matches.valid))) for _, matches in matched])
    best = scores.argmax().item()
    grid = (support[0].shape[-2], support[0].shape[-1])
    layers = []
    for index, (pixels, matches) in enumerate(matched):
        decides = metric.layers == "mean" or index == best
        layers.append(_layer_matches(metric, grid, pixels, matches, float(scores[index]), decides, weights[index]))
    whole = (
        pixel_pairs.directions(_weighted_mean(weights, s, 0)) * pixel_pairs.directions(_weighted_mean(weights, q, 1))
    ).sum()
    score = scores.amax() if metric.layers == "max" else scores.mean()
    return Matching(tuple(layers), float(whole), float(score), metric.weight)


@torch.no_grad()
def compared_vectors(metric: PixelMetric, support: Maps, query: Maps) -> tuple[Tensor, Tensor]:
    """Return one vector per side of a pair, whose inner product is the pair's logit times tau.

    If several matches count, their directions are averaged, and the inner product is only close to that value.

    Args:
        metric: the metric of LWFM-SPM.
        support: one map per layer (C_l, h, w).
        query: one map per layer (C_l, h, w).
    """
    s = pixel_pairs.centered_pixels(support)
    q = pixel_pairs.centered_pixels(query)
    pairs = [pixel_pairs.PixelPairs(*layer) for layer in zip(s, q, strict=True)]
    weights = _layer_weights(metric, pairs)
    sides = [[pixel_pairs.directions(_weighted_mean(weights, layers, side))] for side, layers in enumerate((s, q))]
    matching = match_pixels(metric, support, query)
    if matching is not None:
        deciding = sum(layer.decides for layer in matching.layers)
        for layer, pair, phi in zip(matching.layers, pairs, _phi(metric, len(pairs)), strict=True):
            share = math.sqrt(metric.weight / deciding) if layer.decides else 0.0
            pixels = torch.from_numpy(layer.pixels[layer.counted])
            for side, vectors in enumerate((pair.support, pair.query)):
                matched = vectors[pixels[:, side].to(vectors.device)]
                sides[side].append(share * pixel_pairs.directions(phi(matched)).mean(0))
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


def _match_layer(metric: PixelMetric, pair: pixel_pairs.PixelPairs, phi: nn.Module) -> tuple[Tensor, spm.Matches]:
    """Return the pixels (P, 2) that the matcher pairs, in the order of its matches, and the matches."""
    cosines = pair.cosines()
    cost = (1 - cosines).nan_to_num(nan=2.0)
    similarity = pixel_pairs.directions(phi(pair.support)) @ pixel_pairs.directions(phi(pair.query)).mT
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


def _layer_weights(metric: PixelMetric, pairs: list[pixel_pairs.PixelPairs]) -> list[tuple[Tensor, Tensor]]:
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
