"""Iterative quantisation (ITQ): Gong and Lazebnik, CVPR 2011.

Features on their c principal directions are rotated so that they lie close to the corners of a cube. Codes and
rotation take turns: signs for a fixed rotation, orthogonal Procrustes for fixed codes. The distance ||B - Z R||
never grows.
"""

import torch
from torch import Tensor

from raysearch.models.hashing.encoder import blocks, signs
from raysearch.models.hashing.lsh import ProjectionEncoder
from raysearch.models.hashing.principal import principal_directions


def fit(features: Tensor, labels: Tensor | None, bits: int, seed: int, *, iterations: int = 50) -> ProjectionEncoder:
    """Learn a rotation; `labels` are not looked at.

    Args:
        features: (n, d).
        labels: ignored.
        bits: c, d at most: every bit takes a principal direction.
        seed: of the rotation to start from.
        iterations: turns; the paper's 50.

    Raises:
        ValueError: more bits than channels.
    """
    channels = features.shape[1]
    if bits > channels:
        raise ValueError(f"itq gives as many bits as features have channels at most: bits={bits}, channels={channels}")
    mean, directions = principal_directions(features, bits)
    projected = torch.cat([(rows - mean) @ directions for rows in blocks(features)])
    rotation = random_rotation(bits, seed).to(features.device)
    for _ in range(iterations):
        rotation = better_rotation(projected, rotation)
    return ProjectionEncoder(mean, directions @ rotation)


def better_rotation(projected: Tensor, rotation: Tensor) -> Tensor:
    """One turn: the rotation (c, c) that brings `projected` (n, c) closest to the codes of the one before."""
    left, _, right = torch.linalg.svd(projected.T @ signs(projected @ rotation))
    return left @ right


def random_rotation(size: int, seed: int) -> Tensor:
    """An orthogonal matrix (size, size), uniform among all; float64."""
    draw = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(size, size, generator=draw, dtype=torch.float64))
    return q * r.diagonal().sign()  # without it the signs are the library's choice
