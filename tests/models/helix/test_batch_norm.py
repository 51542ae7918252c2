"""Batch norm over images that stand for pairs, against torch's over the pairs."""

import pytest
import torch
from torch import nn

from raysearch.models.helix.batch_norm import RepeatedBatchNorm2d


@pytest.mark.parametrize(("images", "height", "width", "repeats"), [(1, 1, 2, 75), (5, 10, 10, 75), (3, 3, 4, 1)])
def test_repeated_rows(images: int, height: int, width: int, repeats: int) -> None:
    draw = torch.Generator().manual_seed(0)
    norm, plain = RepeatedBatchNorm2d(4).double(), nn.BatchNorm2d(4).double()
    for one in (norm, plain):
        one.weight.data, one.bias.data = torch.arange(1.0, 5.0).double(), torch.arange(4.0).double()
    for _ in range(3):
        x = 3 + 2 * torch.randn(images, 4, height, width, generator=draw, dtype=torch.float64)
        weight = torch.randn(repeats, *x.shape, generator=draw, dtype=torch.float64)
        once, often = x.clone().requires_grad_(), x.clone().requires_grad_()
        got, expected = norm(once, repeats), plain(often.repeat(repeats, 1, 1, 1)).unflatten(0, (repeats, images))
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
