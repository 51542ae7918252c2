"""ITQ: the turns against numpy and polar factors, and what they promise."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.linalg import polar
from torch import Tensor

from raysearch.models import hashing
from raysearch.models.hashing.encoder import principal_directions
from raysearch.models.hashing.itq import better_rotation, random_rotation


def features(n: int = 200, d: int = 10) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    mixing = torch.randn(d, d, generator=draw, dtype=torch.float64)
    return torch.randn(n, d, generator=draw, dtype=torch.float64).abs() @ mixing


def distance(projected: np.ndarray, rotation: np.ndarray) -> float:
    """||B - Z R||^2, entry by entry."""
    rotated = projected @ rotation
    return sum((np.copysign(1, value) - value) ** 2 for value in rotated.flat)


@pytest.mark.parametrize("bits", [1, 4, 10])
@pytest.mark.parametrize("iterations", [0, 1, 50])
def test_numpy_and_polar_factors(bits: int, iterations: int) -> None:
    given = features()
    centered = given.numpy() - given.numpy().mean(0)
    _, _, right = np.linalg.svd(centered, full_matrices=False)
    directions = right[:bits].T * np.sign(right[np.arange(bits), np.abs(right[:bits]).argmax(1)])
    projected = centered @ directions
    rotation = random_rotation(bits, seed=5).numpy()
    for _ in range(iterations):
        rotation, _ = polar(projected.T @ np.sign(projected @ rotation))
    encoder = hashing.fit("itq", given, None, bits, seed=5, iterations=iterations)
    np.testing.assert_allclose(encoder.directions.numpy(), directions @ rotation, atol=1e-8)
    assert np.array_equal(encoder(given).numpy(), np.sign(projected @ rotation))


def test_fifty_turns_unless_told_otherwise() -> None:
    given = features(400, 32)
    default, fifty, fewer = (
        hashing.fit("itq", given, None, 32, **o) for o in ({}, {"iterations": 50}, {"iterations": 49})
    )
    assert torch.equal(default.directions, fifty.directions)
    assert not torch.allclose(default.directions, fewer.directions, atol=1e-6)


@pytest.mark.parametrize("bits", [3, 8, 10])
def test_the_distance_never_grows_and_rotations_stay_orthogonal(bits: int) -> None:
    given = features()
    mean, directions = principal_directions(given, bits)
    projected = (given - mean) @ directions
    rotation = random_rotation(bits, seed=1)
    values = []
    for _ in range(30):
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(bits, dtype=torch.float64))
        values.append(distance(projected.numpy(), rotation.numpy()))
        rotation = better_rotation(projected, rotation)
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(values))
    assert values[-1] < 0.999 * values[0]


def test_a_turned_cube_is_found() -> None:
    # Corners of a cube, one side longer so that the principal directions are not its own: after ITQ a corner, a code.
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4).double().repeat(20, 1)
    noisy = corners + 0.1 * torch.randn(corners.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    turned = noisy @ random_rotation(4, seed=3)
    codes = hashing.fit("itq", turned, None, 4)(turned)
    assert len(codes.unique(dim=0)) == 16
    assert len(torch.cat([codes, corners.float()], dim=1).unique(dim=0)) == 16


def test_random_rotations_are_uniform() -> None:
    draws = torch.stack([random_rotation(3, seed) for seed in range(2000)])
    assert draws.mean(0).abs().max() < 0.06
    assert (draws.square().mean(0) - 1 / 3).abs().max() < 0.03
    assert abs((torch.linalg.det(draws) > 0).double().mean().item() - 0.5) < 0.04


def test_principal_directions() -> None:
    given = features(60, 7)
    mean, directions = principal_directions(given.float(), 7)
    assert directions.dtype == torch.float64
    covariance = np.cov(given.float().double().numpy().T)
    rotated = directions.numpy().T @ covariance @ directions.numpy()
    np.testing.assert_allclose(rotated, np.diag(rotated.diagonal()), atol=1e-8)
    assert all(a > b for a, b in pairwise(rotated.diagonal()))
    assert (directions.gather(0, directions.abs().argmax(0, keepdim=True)) > 0).all()
    np.testing.assert_allclose(mean, given.float().double().mean(0))
