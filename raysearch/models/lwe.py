"""Layer-wise embedding (LWE) of LWFM-SPM, arXiv 2411.06363: which pixels of two images matter to each other, by layer.

Pixels of a support and of a query image are correlated layer by layer, and each side gets a map of weights that sums to
P: a pixel counts the more, the more pixels of the other image correlate with it best. Nothing is learned here.

    u^l = z^l / sqrt(|z^l|^2 + 1e-6)        z: features less their mean over the channels of all layers together
    R^l_ij = <u_s^l(i), u_q^l(j)>
    a_s^l(i) = sum_j softmax_i(zscore_i(R^l) / temperature),   a_q^l(j) = sum_i softmax_j(zscore_j(R^l) / temperature)

The z-score is along the axis of the softmax and divides by sqrt(unbiased variance + 1e-5).

Legend: `S` support and `Q` query images, `L` layers of `C_l` channels, `P = h w` pixels, `i` a support's, `j` a
query's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from raysearch.models.pixel_pairs import PixelPairs, centred_pixels

VARIANCE_FLOOR = 1e-5


def layerwise_attention(
    support: Sequence[Tensor], query: Sequence[Tensor], temperature: float
) -> tuple[Tensor, Tensor]:
    """Weights of the pixels of every support and query image for each other.

    Args:
        support: by layer (..., S, C_l, h, w), one grid for all layers.
        query: by layer (..., Q, C_l, h, w), of the same leading dimensions.
        temperature: the larger, the closer all weights are to 1.

    Returns:
        a_s and a_q, (..., Q, S, L, P) each, float32 or wider; over P they sum to P.

    Raises:
        ValueError: layers of different images or grids.

    >>> a_s, a_q = layerwise_attention([torch.rand(5, 8, 3, 3)], [torch.rand(2, 8, 3, 3)], temperature=5.0)
    >>> a_s.shape, torch.allclose(a_q.sum(-1), torch.tensor(9.0))
    (torch.Size([2, 5, 1, 9]), True)
    """
    layers = zip(centred_pixels(support), centred_pixels(query), strict=True)
    pairs = [PixelPairs(s.unsqueeze(-4), q.unsqueeze(-3)) for s, q in layers]
    return attention(torch.stack([each.correlations() for each in pairs], dim=-3), temperature)


def attention(correlations: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """a_s and a_q (..., P) of correlations R (..., P, P).

    >>> a_s, a_q = attention(torch.tensor([[0.9, 0.8], [0.1, 0.2]]), temperature=1.0)
    >>> a_s
    tensor([1.6088, 0.3912])
    """
    # Transposed, not along the other axis: a softmax along a short last axis is several times as slow on a CPU.
    return _votes(correlations, temperature), _votes(correlations.mT, temperature)


def _votes(correlations: Tensor, temperature: float) -> Tensor:
    """Every column's softmax over the rows, summed over the columns: (..., P, P) -> (..., P)."""
    pixels = correlations.shape[-2]
    centred = correlations - correlations.mean(-2, keepdim=True)
    # A single pixel has no unbiased variance; its weight is 1 whatever it is divided by.
    variance = centred.square().sum(-2, keepdim=True) / max(1, pixels - 1)
    return (centred * ((variance + VARIANCE_FLOOR).rsqrt() / temperature)).softmax(-2).sum(-1)
