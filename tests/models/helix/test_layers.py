"""The layers of HelixFormer: layer norm position by position, and batch norm against torch's over the pairs."""

import math
import statistics

import pytest
import torch
from torch import nn

from raysearch.models.helix.layers import PositionNorm, RepeatedBatchNorm2d


def test_position_norm_against_a_loop() -> None:
    norm = PositionNorm(6).double()
    norm.weight.data.uniform_(0.5, 1.5)
    norm.bias.data.normal_()
    tokens = 1e-4 * torch.randn(2, 3, 4, 6, dtype=torch.float64)  # as small as the number added to the deviation
    got = norm(tokens).flatten(0, 2).tolist()
    for position, normed in zip(tokens.flatten(0, 2).tolist(), got, strict=True):
        mean = statistics.fmean(position)
        deviation = math.sqrt(statistics.pvariance(position) + 1e-12)
        for channel, value in enumerate(position):
            expected = (value - mean) / (deviation + 1e-5) * norm.weight[channel] + norm.bias[channel]
            assert normed[channel] == pytest.approx(expected.item(), rel=1e-9)


def test_a_constant_position_becomes_the_bias_with_a_finite_gradient() -> None:
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


@pytest.mark.parametrize(("images", "height", "width", "repeats"), [(1, 1, 2, 75), (5, 10, 10, 75), (3, 3, 4, 1)])
def test_batch_norm_of_repeated_rows(images: int, height: int, width: int, repeats: int) -> None:
    draw = torch.Generator().manual_seed(0)
    norm = RepeatedBatchNorm2d(4).double()
    plain = nn.BatchNorm2d(4).double()
    for module in (norm, plain):
        module.weight.data = torch.arange(1.0, 5.0).double()
        module.bias.data = torch.arange(4.0).double()
    for _ in range(3):
        x = 3 + 2 * torch.randn(images, 4, height, width, generator=draw, dtype=torch.float64)
        weight = torch.randn(repeats, *x.shape, generator=draw, dtype=torch.float64)
        once = x.clone().requires_grad_()
        often = x.clone().requires_grad_()
        got = norm(once, repeats)
        expected = plain(often.repeat(repeats, 1, 1, 1)).unflatten(0, (repeats, images))
        torch.testing.assert_close(got.expand_as(expected), expected, rtol=1e-12, atol=1e-12)
        (got * weight).sum().backward()
        (expected * weight).sum().backward()
        torch.testing.assert_close(once.grad, often.grad, rtol=1e-9, atol=1e-11)
    for name, parameter in norm.named_parameters():
        torch.testing.assert_close(parameter.grad, plain.get_parameter(name).grad, rtol=1e-12, atol=1e-12)
    for name, buffer in norm.named_buffers():
        torch.testing.assert_close(buffer, plain.get_buffer(name), rtol=1e-12, atol=0)
    norm.eval(), plain.eval()
    torch.testing.assert_close(norm(x, repeats), plain(x), rtol=1e-12, atol=1e-12)
    assert norm.num_batches_tracked == 3
