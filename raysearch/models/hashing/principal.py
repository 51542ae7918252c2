"""Principal directions of features, the same on every platform as far as the features decide them."""

import torch
from torch import Tensor

from raysearch.models.hashing.encoder import blocks


def principal_directions(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean and directions of largest variance, from one d x d scatter matrix.

    Args:
        features: (n, d).
        count: directions, d at most.

    Returns:
        (d,) mean and (d, count) orthonormal directions, variance falling, float64. The largest entry of a direction
        is positive, since its sign is otherwise the library's choice.

    >>> mean, directions = principal_directions(torch.tensor([[1.0, 2.0], [1.0, 6.0]]), count=1)
    >>> mean.tolist(), directions.flatten().tolist()
    ([1.0, 4.0], [0.0, 1.0])
    """
    mean = mean_of(features)
    scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=features.device)
    for rows in blocks(features):
        centred = rows - mean
        scatter += centred.T @ centred
    _, vectors = torch.linalg.eigh(scatter)  # variance rising
    directions = vectors.flip(1)[:, :count]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return mean, (directions * largest.sign()).contiguous()


def mean_of(features: Tensor) -> Tensor:
    """(n, d) -> (d,) float64."""
    return torch.stack([rows.sum(0) for rows in blocks(features)]).sum(0) / len(features)
