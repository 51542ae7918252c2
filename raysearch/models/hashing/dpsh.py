"""Deep pairwise-supervised hashing (DPSH): Li, Wang and Kang, IJCAI 2016.

The inner product of two outputs gives the log-odds that two images are of one class, theta_ij = u_i.u_j / 2, and the
likelihood of the labels is maximized, while outputs are pulled towards their signs. Outputs u are linear: no
tanh. Codes are their signs, of database and queries alike.

Departures, both usual: pairs are those of a batch with a bank of the latest outputs of all n training images. Means
replace the paper's sums, so that eta is near 0.1 instead of 10 to 100.
"""

from torch import Tensor
from torch.nn import functional

from raysearch.models.precision import at_least_single, full_precision


@full_precision
def loss(u: Tensor, labels: Tensor, bank_u: Tensor, bank_labels: Tensor, eta: float = 0.1) -> Tensor:
    """Return the mean over pairs of log(1 + e^theta) - s theta, plus eta times the mean of (u - sign u)^2.

    Args:
        u: (B, c) linear outputs.
        labels: (B,) int64.
        bank_u: (n, c) outputs; usually without gradient.
        bank_labels: (n,) int64.
        eta: weight of the quantization.

    Returns:
        Scalar, finite for outputs of any size. A batch without positive or without negative pairs is not a special
        case: pairs are not weighted.

    >>> import torch
    >>> u, bank_u = torch.ones(1, 2), torch.zeros(3, 2)
    >>> round(loss(u, torch.tensor([0]), bank_u, torch.tensor([0, 1, 2])).item(), 4)  # log 2
    0.6931
    """
    u = at_least_single(u)
    theta = u @ bank_u.to(u.dtype).T / 2
    same = (labels[:, None] == bank_labels).to(u.dtype)
    likelihood = functional.binary_cross_entropy_with_logits(theta, same)
    return likelihood + eta * (u - u.detach().sign()).square().mean()
