"""Deep supervised hashing (DSH): Liu, Wang, Shan and Chen, CVPR 2016, equation 5.

A contrastive loss on the outputs themselves: pairs of one class are drawn together, pairs of two classes pushed apart
until the margin, and every output towards -1 or +1. Outputs are linear: no tanh. Codes are their signs.

Departure: a mean over pairs replaces the paper's sum.
"""

import torch
from torch import Tensor

from raysearch.models.precision import at_least_single, full_precision


@full_precision
def loss(u: Tensor, labels: Tensor, margin: float | None = None, alpha: float = 0.01) -> Tensor:
    """Return the mean over the pairs i < j of a batch, with D = ||u_i - u_j||^2, of:

        D / 2 (one class) or max(margin - D, 0) / 2 (two), plus alpha (|| |u_i| - 1 ||_1 + || |u_j| - 1 ||_1)

    Args:
        u: (B, c) linear outputs.
        labels: (B,) int64.
        margin: None: the paper's 2 c.
        alpha: weight of the last term.

    Returns:
        Scalar. A batch without positive or without negative pairs has the terms of its pairs. A single image has no
        pair: the last term remains, as if it was paired with itself.

    >>> loss(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 0])).item()
    2.0
    """
    u = at_least_single(u)
    batch, bits = u.shape
    margin = 2 * bits if margin is None else margin
    first, second = torch.triu_indices(batch, batch, offset=1, device=u.device)
    distance = (u[first] - u[second]).square().sum(1)
    same = labels[first] == labels[second]
    pairs = torch.where(same, distance, (margin - distance).clamp(min=0)).sum() / (2 * max(len(first), 1))
    # Every image is in as many pairs as every other, so the mean over pairs is twice the mean over images.
    return pairs + 2 * alpha * (u.abs() - 1).abs().sum(1).mean()
