"""Spectral hashing, against loops over directions and modes as section "SH" of Weiss's paper has them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.models import hashing
from raysearch.models.hashing.spectral import lowest_waves


def spectral_codes(features: np.ndarray, bits: int) -> np.ndarray:
    """All modes as vectors over directions, the zero mode among them; a product of sines a bit."""
    n, d = features.shape
    dims = min(bits, d)
    centred = features - features.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:dims].T
    directions *= np.sign(directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])])
    x = centred @ directions
    low = x.min(0) - 2.3e-16
    high = x.max(0) + 2.3e-16
    width = high - low
    longest = [math.ceil((bits + 1) * w / width.max()) for w in width]
    modes = [[0] * len(width)]
    for axis, count in enumerate(longest):
        for k in range(1, count):
            mode = [0] * len(width)
            mode[axis] = k
            modes.append(mode)
    omegas = [[k * math.pi / w for k, w in zip(mode, width, strict=True)] for mode in modes]
    order = sorted(range(len(modes)), key=lambda m: sum(omega**2 for omega in omegas[m]))
    assert modes[order[0]] == [0] * len(width)
    codes = np.empty((n, bits))
    for i in range(n):
        for bit, m in enumerate(order[1 : bits + 1]):
            product = 1.0
            for axis, omega in enumerate(omegas[m]):
                product *= math.sin(math.pi / 2 + omega * (x[i, axis] - low[axis]))
            codes[i, bit] = 1 if product >= 0 else -1
    return codes


def boxes(n: int, widths: list[float], seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(len(widths), len(widths), generator=draw, dtype=torch.float64))
    points = torch.rand(n, len(widths), generator=draw, dtype=torch.float64) * torch.tensor(widths)
    return points @ rotation + 3


@pytest.mark.parametrize("bits", [1, 2, 5, 8, 20])
@pytest.mark.parametrize("widths", [[5.0], [4.0, 3.0, 1.0, 0.1], [9.0, 2.0, 1.9, 1.8, 1.5, 1.0, 0.5]])
def test_loop(widths: list[float], bits: int) -> None:
    features = boxes(80, widths, seed=bits)
    codes = hashing.fit("sh", features, None, bits)(features)
    assert codes.tolist() == spectral_codes(features.numpy(), bits).tolist()


def test_a_wide_direction_of_little_variance_is_not_looked_at_when_bits_are_few() -> None:
    # Two far ends and nothing between: the widest direction, but the second in variance.
    line = boxes(100, [4.0, 0.0], seed=0)
    line = line - line.mean(0)
    across = torch.stack([-line[0, 1], line[0, 0]]) / line[0].norm()
    features = torch.cat([line, 3.0 * across[None], -3.0 * across[None]])
    codes = hashing.fit("sh", features, None, 1)(features)
    assert codes[:, 0].tolist() == spectral_codes(features.numpy(), 1)[:, 0].tolist()
    assert abs(codes[:100].mean().item()) < 0.3
    assert hashing.fit("sh", features, None, 2).axis.tolist() == [1, 0]


def test_features_of_low_rank_have_no_waves_in_empty_directions() -> None:
    features = boxes(80, [4.0, 3.0], seed=0)
    wide = torch.cat([features, features @ torch.tensor([[1.0, 2.0], [0.5, -1.0]]).double(), torch.ones(80, 2)], dim=1)
    encoder = hashing.fit("sh", wide, None, 12)
    assert encoder.directions.shape == (6, 6)
    assert set(encoder.axis.tolist()) == {0, 1}


@pytest.mark.parametrize("count", [1, 3, 12, 48])
def test_waves_are_the_lowest_of_all(count: int) -> None:
    widths = [3.0, 2.9, 1.7, 0.2, 0.0]
    waves = lowest_waves(widths, count)
    every = sorted(math.pi * k / width for width in widths[:4] for k in range(1, count + 1))
    assert [frequency for frequency, _ in waves] == pytest.approx(every[:count])
    assert len(set(waves)) == count


def test_bits_by_hand() -> None:
    # One direction from 0 to 4: bit k changes its sign where cos(k pi x / 4) does.
    line = torch.tensor([[0.0], [0.5], [1.1], [1.5], [2.1], [3.1], [4.0]])
    first, second = hashing.fit("sh", line, None, 2)(line).T.int().tolist()
    assert first == [1, 1, 1, 1, -1, -1, -1]
    assert second == [1, 1, -1, -1, -1, 1, 1]


def test_scale_and_rotation_change_no_code_but_a_mirror_may_flip_a_bit() -> None:
    features = boxes(80, [4.0, 3.0, 2.0], seed=1)
    codes = hashing.fit("sh", features, None, 6)(features)
    for moved in (16 * features, features @ torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]):
        other = hashing.fit("sh", moved, None, 6)(moved)
        assert (codes * other).mean(0).abs().tolist() == [1.0] * 6
