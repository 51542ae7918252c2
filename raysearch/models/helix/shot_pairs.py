"""Which maps the relation head of HelixFormer compares when a class has several supports.

The paper (arXiv 2207.00784) scores a query with each of the K supports of a class. The released program joins the maps
of the supports and those of the query along the dimension of shots: s1..sK q1..qK. Here qk is the query as support k
has changed it. The program then scores neighbors: of five supports (s1, s2), (s3, s4), (s5, q1), (q2, q3) and (q4, q5).
With one support both are the same.

Legend: `E` episodes, `Q` queries, `S = W x K` supports of W classes, `C x H x W'` maps.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Arrange = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]  # support, query, K -> first and second of each pair


def every_support(support: Tensor, query: Tensor, shots: int) -> tuple[Tensor, Tensor]:
    """Return both maps as they are: each support with the query, as the paper describes it."""
    return support, query


def joined_shots(support: Tensor, query: Tensor, shots: int) -> tuple[Tensor, Tensor]:
    """Return the pairs that the released program compares.

    Args:
        support: (..., Q or 1, S or 1, C, H, W').
        query: the same.
        shots: K.

    Returns:
        First and second map of each pair, both (..., Q, S, C, H, W'): K pairs per class.
    """
    support, query = torch.broadcast_tensors(support, query)
    both = torch.cat([maps.unflatten(-4, (-1, shots)) for maps in (support, query)], dim=-4)  # (..., W, 2K, C, H, W')
    first, second = both.unflatten(-4, (shots, 2)).unbind(-4)
    return first.flatten(-5, -4), second.flatten(-5, -4)


ARRANGEMENTS: dict[str, Arrange] = {"each": every_support, "joined": joined_shots}
