"""Pixels as vectors, and the inner products of every pixel of a support image with every pixel of a query image.

LWFM-SPM, arXiv 2411.06363, compares two images by their pixels layer by layer. Both of its parts, layer-wise embedding
and semantic pixel matching, need the inner products of the centered pixels and divide them by different lengths. So the
sum over channels is done once for both.

The images of pairs are along leading axes, which broadcast: supports (1, S, P, C) and queries (Q, 1, P, C) make Q S
pairs. Whatever depends on one image alone is computed once per image. Everything is float32 or wider, also under
autocast.

Legend: `C_l` channels of a layer, `P = h w` pixels, `i` of a support, `j` of a query.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from raysearch.models.precision import at_least_single, full_precision

ZERO_LENGTH = 1e-12  # a vector this short has no direction
DAMPING = 1e-6  # added to the squared length of a pixel before correlation


def centered_pixels(layers: Sequence[Tensor]) -> list[Tensor]:
    """Return pixels minus their mean over the channels of all layers: (..., C_l, h, w) -> (..., P, C_l) per layer.

    Raises:
        ValueError: the layers are of different images or grids.

    >>> shallow, deep = centered_pixels([torch.zeros(1, 1, 1), torch.full((2, 1, 1), 3.0)])
    >>> shallow.tolist(), deep.tolist()
    ([[-2.0]], [[1.0, 1.0]])
    """
    shapes = [tuple(maps.shape) for maps in layers]
    if len({(*shape[:-3], *shape[-2:]) for shape in shapes}) != 1:
        raise ValueError(f"all layers must have the same images and the same grid, got {shapes}")
    pixels = [at_least_single(maps).flatten(-2).transpose(-1, -2).contiguous() for maps in layers]
    mean = sum(vectors.sum(-1, keepdim=True) for vectors in pixels) / sum(vectors.shape[-1] for vectors in pixels)
    return [vectors - mean for vectors in pixels]


class PixelPairs:
    """One layer of image pairs.

    Args:
        support: (..., P, C_l) centered pixels.
        query: (..., P, C_l) likewise; leading axes broadcast.
    """

    def __init__(self, support: Tensor, query: Tensor) -> None:
        self.support = support
        self.query = query

    @functools.cached_property
    def products(self) -> Tensor:
        """Inner products (..., P, P), i first."""
        return inner_products(self.support, self.query)

    @functools.cached_property
    def squares(self) -> tuple[Tensor, Tensor]:
        """Squared lengths (..., P) of both sides."""
        return self.support.square().sum(-1), self.query.square().sum(-1)

    def correlations(self) -> Tensor:
        """Return R_ij = <u(i), u(j)>, u = z / sqrt(|z|^2 + 1e-6): (..., P, P)."""
        return self._scaled(lambda squares: (squares + DAMPING).rsqrt())

    def cosines(self) -> Tensor:
        """Return the cosines (..., P, P); 0 where a pixel has no direction."""
        return self._scaled(_inverse_lengths)

    def _scaled(self, factor: Callable[[Tensor], Tensor]) -> Tensor:
        support, query = map(factor, self.squares)
        return self.products * support.unsqueeze(-1) * query.unsqueeze(-2)


@full_precision
def inner_products(support: Tensor, query: Tensor) -> Tensor:
    """Multiply all pixels with all pixels: (..., P, C), (..., P, C) -> (..., P, P), leading axes broadcast.

    Unlike `matmul`, `einsum` broadcasts without copies: (1, S, P, C) with (Q, 1, P, C) is one matrix product.

    >>> inner_products(torch.ones(1, 5, 9, 8), torch.ones(7, 1, 9, 8)).shape
    torch.Size([7, 5, 9, 9])
    """
    return torch.einsum("...ic,...jc->...ij", support, query)


def directions(vectors: Tensor) -> Tensor:
    """Scale vectors (..., C) to length 1. A vector without a direction becomes zero and gets no gradient.

    >>> directions(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    vectors = at_least_single(vectors)
    return vectors * _inverse_lengths(vectors.square().sum(-1, keepdim=True))


def _inverse_lengths(squares: Tensor) -> Tensor:
    return torch.where(squares > ZERO_LENGTH**2, squares, torch.inf).rsqrt()
