"""Locality-sensitive hashing (LSH): the signs of random projections. Only the mean is learned.

Charikar, "Similarity Estimation Techniques from Rounding Algorithms", STOC 2002. Two features at an angle a differ in
a bit with probability a / pi. Departure: the mean of the features is subtracted first, since features after a ReLU fill
one orthant and would share most bits. A single draw varies a lot: average over seeds.
"""

import torch
from torch import Tensor

from raysearch.models.hashing.encoder import Encoder, mean_of


class ProjectionEncoder(Encoder):
    """Encodes by sign((f - mean) directions); also the encoder of ITQ.

    Args:
        mean: (d,) float64.
        directions: (d, c) float64.
    """

    mean: Tensor
    directions: Tensor

    def __init__(self, mean: Tensor, directions: Tensor) -> None:
        super().__init__(channels=len(mean))
        self.register_buffer("mean", mean)
        self.register_buffer("directions", directions)

    def scores(self, rows: Tensor) -> Tensor:
        """Return the projections (b, c) of features (b, d)."""
        return (rows - self.mean) @ self.directions


def fit(features: Tensor, labels: Tensor | None, bits: int, seed: int) -> ProjectionEncoder:
    """Draw `bits` directions from a normal distribution; `labels` are ignored."""
    draw = torch.Generator().manual_seed(seed)  # on the CPU, so that every device has the same directions
    directions = torch.randn(features.shape[1], bits, generator=draw, dtype=torch.float64)
    return ProjectionEncoder(mean_of(features), directions.to(features.device))
