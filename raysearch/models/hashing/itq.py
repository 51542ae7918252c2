"""Iterative quantization (ITQ): Gong and Lazebnik, CVPR 2011.

Features on their c principal directions are rotated so that they are close to the corners of a cube. Codes and rotation
are optimized in turn: signs for a fixed rotation, orthogonal Procrustes for fixed codes. The distance ||B - Z R||
never grows.
"""

import torch
from torch import Tensor

from raysearch.models.hashing.encoder import blocks, principal_directions, signs
from raysearch.models.hashing.lsh import ProjectionEncoder


def fit(features: Tensor, labels: Tensor | None, bits: int, seed: int, *, iterations: int = 50) -> ProjectionEncoder:
    """Learn a rotation; `labels` are ignored.

    Args:
        features: (n, d).
        labels: ignored.
        bits: c, at most d: every bit takes a principal direction.
        seed: the seed of the starting rotation.
        iterations: number of turns; the paper's 50.

    Raises:
        ValueError: more bits than channels.
    """
    channels = features.shape[1]
    if bits > channels:
        raise ValueError(f"itq gives at most one bit per channel of the features: bits={bits}, channels={channels}")
    mean, directions = principal_directions(features, bits)
    projected = torch.cat([(rows - mean) @ directions for rows in blocks(features)])
    rotation = random_rotation(bits, seed).to(features.device)
    for _ in range(iterations):
        rotation = better_rotation(projected, rotation)
    return ProjectionEncoder(mean, directions @ rotation)


def better_rotation(projected: Tensor, rotation: Tensor) -> Tensor:
    """Return the rotation (c, c) that brings `projected` (n, c) closest to the codes of the given rotation."""
    u, _, vh = torch.linalg.svd(projected.T @ signs(projected @ rotation))
    return u @ vh


def random_rotation(size: int, seed: int) -> Tensor:
    """Draw an orthogonal matrix (size, size) uniformly; float64."""
    draw = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(size, size, generator=draw, dtype=torch.float64))
    return q * r.diagonal().sign()  # else the library chooses the signs
