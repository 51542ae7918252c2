"""HashNet: Cao, Long, Wang and Yu, "HashNet: Deep Learning to Hash by Continuation", ICCV 2017.

Inner products of outputs give the log-odds that two images are of one class, as in DPSH, with positive and negative
pairs weighted to count alike. Outputs are tanh(beta z), and beta grows, so that training ends near the sign function
and needs no quantization loss.

The weights of pairs are the paper's; the authors' published code has others. Departures: alpha and the growth of beta
are those of that code, since the paper gives only that alpha is below 1 and that beta grows.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from raysearch.models.precision import at_least_single, full_precision


@full_precision
def loss(
    h: Tensor,
    labels: Tensor,
    other_h: Tensor | None = None,
    other_labels: Tensor | None = None,
    alpha: float | None = None,
) -> Tensor:
    """Return the weighted mean over pairs of log(1 + e^t) - s t, t = alpha h_i.h_j.

    A positive pair weighs |pairs| / |positive pairs| and a negative one |pairs| / |negative pairs|; the sum is divided
    by the sum of the weights.

    Args:
        h: (B, c) outputs tanh(beta z).
        labels: (B,) int64.
        other_h: (B', c) outputs of a second, independent batch to pair with; None: the pairs i < j of the batch itself.
        other_labels: (B',) int64 of `other_h`.
        alpha: None: 10 / c.

    Returns:
        Scalar. If all pairs are of one kind it is their plain mean; without pairs it is 0.

    Raises:
        ValueError: outputs of a second batch without its labels, or labels without outputs.

    >>> h = torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, -1.0]])
    >>> round(loss(h, torch.tensor([0, 1, 1])).item(), 4)
    0.3466
    """
    if (other_h is None) != (other_labels is None):
        raise ValueError("a second batch needs both its outputs and its labels")
    h = at_least_single(h)
    alpha = 10 / h.shape[1] if alpha is None else alpha
    if other_h is None or other_labels is None:
        first, second = torch.triu_indices(len(h), len(h), offset=1, device=h.device)
        log_odds = alpha * (h @ h.T)[first, second]
        same = labels[first] == labels[second]
    else:
        log_odds = alpha * h @ other_h.to(h.dtype).T
        same = labels[:, None] == other_labels
    pairs = same.numel()
    positive = same.sum().to(h.dtype)
    # A kind without pairs has an infinite weight, but no pair has that weight.
    weight = torch.where(same, pairs / positive, pairs / (pairs - positive))
    terms = functional.binary_cross_entropy_with_logits(log_odds, same.to(h.dtype), reduction="none")
    return (weight * terms).sum() / weight.sum().clamp(min=1)


def scale(step: int, growth: float = 0.005, every: int = 200) -> float:
    """Return beta of a training step: sqrt(1 + growth step), with the step rounded down to a multiple of `every`.

    >>> [scale(step) for step in (0, 199, 600, 799)]
    [1.0, 1.0, 2.0, 2.0]
    """
    return math.sqrt(1 + growth * (step // every * every))
