"""Spectral hashing (SH): Weiss, Torralba and Fergus, "Spectral Hashing", NIPS 2008.

The data are assumed to be uniform in a box along the principal directions. The eigenfunctions of the Laplacian on a box
are known: waves along one direction each. The c waves of lowest frequency are cut at zero.

There are no random draws and no labels. The box is as wide as the given features, up to the rounding error of the
authors' code. More bits than channels are possible: a direction then gives more waves.
"""

import math

import torch
from torch import Tensor

from raysearch.models.hashing.encoder import Encoder, blocks, principal_directions

_EPSILON = torch.finfo(torch.float64).eps


class SpectralEncoder(Encoder):
    """Encodes by sign(sin(pi / 2 + frequency (x - low))), x the coordinate along the wave's direction.

    Args:
        mean: (d,) float64.
        directions: (d, p) float64, the p = min(c, d) principal directions.
        low: (p,) float64, lower ends of the box.
        axis: (c,) int64, the direction of each bit's wave.
        frequency: (c,) float64, in radians.
    """

    mean: Tensor
    directions: Tensor
    low: Tensor
    axis: Tensor
    frequency: Tensor

    def __init__(self, mean: Tensor, directions: Tensor, low: Tensor, axis: Tensor, frequency: Tensor) -> None:
        super().__init__(channels=len(mean))
        self.register_buffer("mean", mean)
        self.register_buffer("directions", directions)
        self.register_buffer("low", low)
        self.register_buffer("axis", axis)
        self.register_buffer("frequency", frequency)

    def scores(self, rows: Tensor) -> Tensor:
        """Return the waves (b, c) at features (b, d)."""
        position = (rows - self.mean) @ self.directions - self.low
        return torch.sin(math.pi / 2 + self.frequency * position[:, self.axis])


def fit(features: Tensor, labels: Tensor | None, bits: int, seed: int) -> SpectralEncoder:
    """Fit the box and choose its lowest waves; `labels` and `seed` are ignored."""
    mean, directions = principal_directions(features, min(bits, features.shape[1]))
    projected = ((rows - mean) @ directions for rows in blocks(features))
    ends = torch.stack([torch.stack((rows.amin(0), rows.amax(0))) for rows in projected])
    low = ends[:, 0].amin(0) - _EPSILON
    high = ends[:, 1].amax(0) + _EPSILON
    waves = lowest_waves((high - low).tolist(), bits)
    axis = torch.tensor([axis for _, axis in waves], device=features.device)
    frequency = torch.tensor([frequency for frequency, _ in waves], dtype=torch.float64, device=features.device)
    return SpectralEncoder(mean, directions, low, axis, frequency)


def lowest_waves(widths: list[float], count: int) -> list[tuple[float, int]]:
    """Return the `count` waves of lowest frequency in a box: (frequency in radians, axis), by frequency.

    Args:
        widths: the widths of the box along each axis, not all zero.
        count: at least 1; the widest axis alone has that many waves.

    >>> [(round(frequency / math.pi, 2), axis) for frequency, axis in lowest_waves([1.0, 0.4], 3)]
    [(1.0, 0), (2.0, 0), (2.5, 1)]
    """
    waves = [
        (k * math.pi / width, axis)
        for axis, width in enumerate(widths)
        for k in range(1, math.ceil((count + 1) * width / max(widths)))
    ]
    return sorted(waves)[:count]
