"""Layer norm over channels, position by position."""

import math
import statistics

import pytest
import torch

from raysearch.models.helix.position_norm import PositionNorm


def test_loop() -> None:
    norm = PositionNorm(6).double()
    norm.weight.data.uniform_(0.5, 1.5)
    norm.bias.data.normal_()
    tokens = 1e-4 * torch.randn(2, 3, 4, 6, dtype=torch.float64)  # as small as the number added to the deviation
    got = norm(tokens).flatten(0, 2).tolist()
    for position, normed in zip(tokens.flatten(0, 2).tolist(), got, strict=True):
        mean, deviation = statistics.fmean(position), math.sqrt(statistics.pvariance(position) + 1e-12)
        for channel, value in enumerate(position):
            expected = (value - mean) / (deviation + 1e-5) * norm.weight[channel] + norm.bias[channel]
            assert normed[channel] == pytest.approx(expected.item(), rel=1e-9)


def test_a_constant_position_becomes_the_bias_with_a_finite_slope() -> None:
    norm = PositionNorm(4)
    norm.bias.data.fill_(2.0)
    tokens = torch.full((3, 4), 7.0, requires_grad=True)
    normed = norm(tokens)
    normed.square().sum().backward()
    assert torch.equal(normed, torch.full((3, 4), 2.0))
    assert tokens.grad.isfinite().all()


def test_half_precision_is_widened() -> None:
    tokens = torch.randn(5, 64, dtype=torch.bfloat16)
    norm = PositionNorm(64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = norm(tokens)
    assert got.dtype == torch.float32
    assert torch.equal(got, norm(tokens.float()))
