"""LWFM-SPM: Tang, Lu, Huang, Li, Chen, Zhong, Tan, Li, "Layer-Wise Feature Metric of Semantic-Pixel Matching for
Few-Shot Learning", 2024, arXiv 2411.06363.

Taps of a backbone on one grid are weighted by layer-wise embedding (`raysearch.models.lwe`). They are compared twice:
by their means over pixels, and pixel by pixel (`raysearch.models.spm`) after a residual map phi of each layer.

    logit = (cos(g_s, g_q) + weight * mean over shots of max over layers of the largest m_i) / tau
    e = a z,   g = mean over pixels and shots of e,   m_i = cos(phi(e_s(i)), phi(e_q(match of i)))
    phi(x) = x + ReLU(W2 ReLU(W1 x))

A figure of the paper suggests that all matches count, not only the best: that is reduce="mean" with layers="mean".

Whatever depends on one image alone is computed once per image. Cosines do not depend on the positive weights a, and
phi without a bias is positively homogeneous. So z replaces e in SPM, and phi runs once per image. The weighted maps e
are never built either, only their means.

Departures: a pixel of length 1e-12 or less has no direction. Its cosines are 0, as with clamped lengths, but it gets no
gradient, which a clamp would enlarge 1e12 times. A cost that is not a number, from features that overflowed, counts as
2, the largest: the overflow then shows in the loss instead of failing the matcher. Images are normalized by ImageNet's
mean and deviation on every data set. The released program has the mean (125.3, 123.0, 113.9) / 255 and the deviation
(63.0, 62.1, 66.7) / 255 (`lwfm.normalization=released`), and others on CIFAR-FS. A pixel of zeros makes that program
fail; here it is scored.

Legend: `E` episodes, `W` ways, `K` shots, `N` queries, `L` layers of `C_l` channels, `C` their sum, `P = h w` pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from raysearch.core import UserError, nearest
from raysearch.models.lwe import attention
from raysearch.models.pixel_pairs import PixelPairs, centered_pixels, directions, inner_products
from raysearch.models.precision import at_least_single, full_precision
from raysearch.models.spm import build_matcher, strongest


class MetricOutput(NamedTuple):
    """The result of comparing queries with supports."""

    logits: Tensor  # (E, N, W), float32 or wider
    query: Tensor  # (E, N, C) mean of e_q over pixels, ways and shots; the auxiliary loss classifies it


class ResidualMap(nn.Module):
    """phi, along the last axis: (..., C) -> (..., C). Without a bias, phi(a x) = a phi(x) for a > 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 2)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.expand = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + relu(expand(relu(squeeze(x)))): (..., C) -> (..., C)."""
        return x + self.expand(self.squeeze(x).relu()).relu()


class PixelMetric(nn.Module):
    """The metric, apart from the shapes of its inputs; see `LayerwiseMatching` and `PairMatching`.

    Args:
        channels: C_l of each layer.
        temperature: the temperature of the layer-wise embedding.
        lwe: False: all weights are 1.
        matcher: "hungarian", "nearest", "mutual" or "sinkhorn".
        reduce: the matches that count: "top1", "topk", or with "mean" all.
        k: the k of "topk".
        layers: "max" or "mean" over layers.
        weight: the weight of SPM; 0 leaves out SPM and its parameters.
        tau: divides the logits.
        residual: False: phi is the identity.
        sinkhorn_eps: see `raysearch.models.spm.transport_plan`.
        sinkhorn_iterations: likewise.

    Raises:
        ValueError: an option is out of range.
        UserError: unknown name.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        temperature: float = 5.0,
        lwe: bool = True,
        matcher: str = "hungarian",
        reduce: str = "top1",
        k: int = 3,
        layers: str = "max",
        weight: float = 0.25,
        tau: float = 0.2,
        residual: bool = True,
        sinkhorn_eps: float = 0.05,
        sinkhorn_iterations: int = 50,
    ) -> None:
        super().__init__()
        _check_positive("temperature", temperature)
        _check_positive("k", k)
        _check_positive("tau", tau)
        _check_known("reduce", reduce, ("top1", "topk", "mean"))
        _check_known("layers", layers, ("max", "mean"))
        if not weight >= 0:
            raise ValueError(f"weight must be 0 or more, got {weight}")
        self.temperature = temperature
        self.lwe = lwe
        self.reduce = reduce
        self.k = k
        self.layers = layers
        self.weight = weight
        self.tau = tau
        self.matcher = build_matcher(matcher, sinkhorn_eps, sinkhorn_iterations)
        self.residual = nn.ModuleList(map(ResidualMap, channels)) if weight and residual else None

    def compare(self, support: list[Tensor], query: list[Tensor]) -> MetricOutput:
        """Compare centered pixels, (E, N, W, K, P, C_l) per layer; constant axes may have size 1."""
        pairs = [PixelPairs(s, q) for s, q in zip(support, query, strict=True)]
        if self.lwe:
            a_s, a_q = attention(torch.stack([pair.correlations() for pair in pairs], dim=4), self.temperature)
        else:
            a_s = a_q = support[0].new_ones(1, 1, 1, 1, len(pairs), support[0].shape[-2])
        g_s = mean_embedding(a_s, support)
        g_q = mean_embedding(a_q, query)
        score = (directions(g_s) * directions(g_q)).sum(-1)
        if self.weight:
            score = score + self.weight * self._match(pairs)
        return MetricOutput(score / self.tau, g_q.mean(2))

    def _match(self, pairs: list[PixelPairs]) -> Tensor:
        """Return the score of SPM: (E, N, W)."""
        cosines = torch.stack([pair.cosines() for pair in pairs], dim=4)
        similarity = cosines if self.residual is None else self._mapped_cosines(self.residual, pairs)
        matches = self.matcher((1 - cosines).nan_to_num(nan=2.0), similarity)
        pixels = cosines.shape[-1]
        by_layer = strongest(matches, {"top1": 1, "topk": self.k, "mean": pixels}[self.reduce])
        by_shot = by_layer.amax(-1) if self.layers == "max" else by_layer.mean(-1)
        return by_shot.mean(-1)

    @staticmethod
    def _mapped_cosines(maps: nn.ModuleList, pairs: list[PixelPairs]) -> Tensor:
        """Return the cosines (E, N, W, K, L, P, P) after phi, which runs only along axes where the pixels vary."""
        layers = zip(maps, pairs, strict=True)
        return torch.stack(
            [inner_products(directions(phi(pair.support)), directions(phi(pair.query))) for phi, pair in layers], dim=4
        )


class LayerwiseMatching(PixelMetric):
    """`metric(support, query) -> Matched`, for feature maps of images.

    >>> metric = LayerwiseMatching((8, 16))
    >>> support = [torch.rand(1, 5, 2, channels, 3, 3) for channels in (8, 16)]
    >>> query = [torch.rand(1, 7, channels, 3, 3) for channels in (8, 16)]
    >>> metric(support, query).logits.shape
    torch.Size([1, 7, 5])
    """

    def forward(self, support: Sequence[Tensor], query: Sequence[Tensor]) -> MetricOutput:
        """Compare each query with each way.

        Args:
            support: (E, W, K, C_l, h, w) per layer.
            query: (E, N, C_l, h, w) per layer.

        Raises:
            ValueError: the layers are of different images or grids, or have fewer pixels than matches to count.
        """
        s = [pixels.unsqueeze(1) for pixels in centered_pixels(support)]
        q = [pixels[:, :, None, None] for pixels in centered_pixels(query)]
        return self.compare(s, q)


class PairMatching(PixelMetric):
    """`metric(support, query, shots) -> Matched`, for feature maps that a network made for each pair of images.

    The maps depend on the pair, so centering, phi and costs are computed per pair. Here too, SPM does not depend on the
    weights of the layer-wise embedding.

    >>> maps = torch.rand(1, 7, 10, 8, 3, 3)
    >>> PairMatching((8,))([maps], [maps], shots=2).logits.shape
    torch.Size([1, 7, 5])
    """

    def forward(self, support: Sequence[Tensor], query: Sequence[Tensor], shots: int) -> MetricOutput:
        """Compare each query with each way.

        Args:
            support: (E, N, W K, C_l, h, w) per layer, the shots of a way next to each other.
            query: likewise.
            shots: K.

        Raises:
            ValueError: the layers are of different images or grids, or have fewer pixels than matches to count.
        """
        s, q = ([pixels.unflatten(2, (-1, shots)) for pixels in centered_pixels(side)] for side in (support, query))
        return self.compare(s, q)


def pool_taps(maps: Sequence[Tensor], grid: int = 3) -> list[Tensor]:
    """Average maps (..., C, h, w) to (..., C, grid, grid) by adaptive pooling, in float32 or wider.

    >>> [tuple(tap.shape) for tap in pool_taps([torch.zeros(2, 8, 6, 6), torch.zeros(2, 16, 3, 3)])]
    [(2, 8, 3, 3), (2, 16, 3, 3)]
    """
    images = (at_least_single(tap).flatten(0, -4) for tap in maps)
    pooled = (nn.functional.adaptive_avg_pool2d(tap, grid) for tap in images)
    return [tap.unflatten(0, original.shape[:-3]) for tap, original in zip(pooled, maps, strict=True)]


def mean_embedding(weights: Tensor, layers: list[Tensor]) -> Tensor:
    """Return g, the mean over shots and pixels of weighted pixels, with all layers concatenated.

    Args:
        weights: (E, N, W, K, L, P).
        layers: (E, N, W, K, P, C_l) each; axes of size 1 are broadcast, also those of `weights`.

    Returns:
        (E, N, W, C); an axis of size 1 in both keeps that size.
    """
    return torch.cat([_weighted_mean(a, z) for a, z in zip(weights.unbind(4), layers, strict=True)], dim=-1)


@full_precision
def _weighted_mean(weights: Tensor, pixels: Tensor) -> Tensor:
    *_, shots, count = torch.broadcast_shapes(weights.shape, pixels.shape[:-1])
    return torch.einsum("enwkp,enwkpc->enwc", weights, pixels) / (shots * count)


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"unknown {name} '{value}'{nearest(value, known)}")
