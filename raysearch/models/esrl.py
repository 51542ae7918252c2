"""Enhancing space relation loss (ESRL) of FCAENet, arXiv 2110.04479, equations 7 to 9.

Pulls the code of an image towards the code of another image of its class (positive) and of itself with regions erased.
A class then keeps one place in Hamming space, whichever part of the object is visible.

The paper gives neither its weights alpha and beta, nor whether r and c normalize the sums. Here the weights are
relative (kappa = alpha / c times the mean squared distance), which is the same loss for another alpha.
"""

from torch import Tensor


def esrl(
    u: Tensor, positive: Tensor | None, erased: Tensor | None, positive_weight: float, erased_weight: float
) -> Tensor:
    """Return the weighted mean squared distances of a batch of network outputs to their positives and erased views.

    Args:
        u: (B, c) outputs of the anchors.
        positive: (B, c) outputs of images of the same class; may be None when its weight is 0.
        erased: (B, c) outputs of the anchors with regions erased; may be None when its weight is 0.
        positive_weight: kappa of the positive term.
        erased_weight: kappa of the erased term.

    Returns:
        Scalar. Gradient flows into all three.

    >>> import torch
    >>> esrl(torch.ones(2, 4), torch.zeros(2, 4), None, 0.5, 0.0)
    tensor(2.)
    """
    loss = u.new_zeros(())
    for view, weight in ((positive, positive_weight), (erased, erased_weight)):
        if weight:
            assert view is not None, "a weighted term needs its view"
            loss = loss + weight * (u - view).square().sum(1).mean()
    return loss
