"""Inner products of the pixels of all image pairs, against pairs one by one."""

import pytest
import torch
from torch import Tensor

from raysearch.models.pixel_pairs import PixelPairs, centered_pixels, directions, inner_products


def pixels(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=draw, dtype=torch.float64).sub(0.5).requires_grad_()


def test_pixels_are_centred_over_all_layers() -> None:
    maps = [pixels(0, 2, 3, 2, 2), pixels(1, 2, 5, 2, 2)]
    shallow, deep = centered_pixels(maps)
    assert shallow.shape == (2, 4, 3)
    assert deep.shape == (2, 4, 5)
    for image in range(2):
        for pixel in range(4):
            values = torch.cat([each[image, :, pixel // 2, pixel % 2] for each in maps])
            actual = torch.cat([shallow[image, pixel], deep[image, pixel]])
            torch.testing.assert_close(actual, values - values.mean(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shared", [True, False])
def test_broadcast_pairs_are_pairs_one_by_one(shared: bool) -> None:
    # (S 5, Q 3): images of their own, or pixels that differ from pair to pair.
    s, q = (pixels(2, 1, 5, 4, 6), pixels(3, 3, 1, 4, 6)) if shared else (pixels(2, 3, 5, 4, 6), pixels(3, 3, 5, 4, 6))
    pairs = PixelPairs(s, q)
    actual = [pairs.products, pairs.correlations(), pairs.cosines()]
    expected: list[list[Tensor]] = [[], [], []]
    for a, b in zip(s.expand(3, 5, 4, 6).flatten(0, 1), q.expand(3, 5, 4, 6).flatten(0, 1), strict=True):
        damped = [each / (each.square().sum(-1, keepdim=True) + 1e-6).sqrt() for each in (a, b)]
        expected[0].append(a @ b.T)
        expected[1].append(damped[0] @ damped[1].T)
        expected[2].append(torch.cosine_similarity(a[:, None], b, dim=-1))
    weights = pixels(4, 15, 4, 4).detach()
    for fast, slow in zip(actual, map(torch.stack, expected), strict=True):
        torch.testing.assert_close(fast.reshape(15, 4, 4), slow, rtol=1e-12, atol=1e-13)
        slopes = [
            torch.autograd.grad((each.reshape(15, 4, 4) * weights).sum(), (s, q), retain_graph=True)
            for each in (fast, slow)
        ]
        for x, y in zip(*slopes, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-11, atol=1e-12)


def test_layers_of_two_grids_or_of_other_images_are_refused() -> None:
    for shape in ((2, 4, 3, 2), (3, 4, 3, 3)):
        with pytest.raises(ValueError, match="the same grid"):
            centered_pixels([torch.zeros(2, 4, 3, 3), torch.zeros(shape)])


def test_a_pixel_without_direction_has_cosine_zero_and_takes_no_gradient() -> None:
    draw = torch.Generator().manual_seed(14)
    s = torch.rand(4, 3, generator=draw, dtype=torch.float64).sub(0.5)
    s[1] = 0
    s[2] *= 1e-13
    s.requires_grad_()
    q = torch.rand(4, 3, generator=draw, dtype=torch.float64)
    for cosines in (PixelPairs(s, q).cosines(), inner_products(directions(s), directions(q))):
        assert (cosines[1:3] == 0).all()
        torch.testing.assert_close(cosines[0], torch.cosine_similarity(s[0], q, dim=-1))
        (slope,) = torch.autograd.grad(cosines.sum(), s)
        assert (slope[1:3] == 0).all()
        assert (slope[[0, 3]] != 0).all()
        assert slope.isfinite().all()
