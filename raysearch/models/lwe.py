"""Layer-wise embedding (LWE) of LWFM-SPM, arXiv 2411.06363: weights of two images' pixels for each other.

Pixels of a support and of a query image are correlated layer by layer. Each side gets a map of weights that sums to P:
a pixel's weight grows with the number of pixels of the other image that correlate best with it. Nothing is learned.

    u^l = z^l / sqrt(|z^l|^2 + 1e-6)        z: features minus their mean over the channels of all layers
    R^l_ij = <u_s^l(i), u_q^l(j)>
    a_s^l(i) = sum_j softmax_i(zscore_i(R^l) / temperature),   a_q^l(j) = sum_i softmax_j(zscore_j(R^l) / temperature)

The z-score is along the axis of the softmax and divides by sqrt(unbiased variance + 1e-5).

Legend: `S` support and `Q` query images, `L` layers of `C_l` channels, `P = h w` pixels, `i` of a support, `j` of a
query.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from raysearch.models.pixel_pairs import PixelPairs, centered_pixels

VARIANCE_FLOOR = 1e-5


def layerwise_attention(
    support: Sequence[Tensor], query: Sequence[Tensor], temperature: float
) -> tuple[Tensor, Tensor]:
    """Compute the weights of the pixels of every support and query image for each other.

    Args:
        support: (..., S, C_l, h, w) per layer, one grid for all layers.
        query: (..., Q, C_l, h, w) per layer, with the same leading dimensions.
        temperature: the larger, the closer all weights are to 1.

    Returns:
        a_s and a_q, (..., Q, S, L, P) each, float32 or wider. They sum to P over P.

    Raises:
        ValueError: layers of different images or grids.

    >>> a_s, a_q = layerwise_attention([torch.rand(5, 8, 3, 3)], [torch.rand(2, 8, 3, 3)], temperature=5.0)
    >>> a_s.shape, torch.allclose(a_q.sum(-1), torch.tensor(9.0))
    (torch.Size([2, 5, 1, 9]), True)
    """
    layers = zip(centered_pixels(support), centered_pixels(query), strict=True)
    pairs = [PixelPairs(s.unsqueeze(-4), q.unsqueeze(-3)) for s, q in layers]
    return attention(torch.stack([pair.correlations() for pair in pairs], dim=-3), temperature)


def attention(correlations: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return a_s and a_q (..., P) of correlations R (..., P, P).

    >>> a_s, a_q = attention(torch.tensor([[0.9, 0.8], [0.1, 0.2]]), temperature=1.0)
    >>> a_s
    tensor([1.6088, 0.3912])
    """
    # Transposed, since a softmax along a short last axis is several times slower on a CPU.
    return _pixel_weights(correlations, temperature), _pixel_weights(correlations.mT, temperature)


def _pixel_weights(correlations: Tensor, temperature: float) -> Tensor:
    """Sum the columns' softmax over rows over all columns: (..., P, P) -> (..., P)."""
    pixels = correlations.shape[-2]
    centered = correlations - correlations.mean(-2, keepdim=True)
    # A single pixel has no unbiased variance; its weight is 1 whatever the divisor is.
    variance = centered.square().sum(-2, keepdim=True) / max(1, pixels - 1)
    return (centered * ((variance + VARIANCE_FLOOR).rsqrt() / temperature)).softmax(-2).sum(-1)
