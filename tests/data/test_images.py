"""Batches and augmentation: torchvision's own numbers, mirrors and boxes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import ResNet50_Weights
from torchvision.transforms.v2 import functional

from raysearch.data import images
from raysearch.data.images import ImageSet, augment, draw_views

CPU = torch.device("cpu")


def image_set(count: int = 6, side: int = 8) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    return ImageSet(pixels, np.arange(count))


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def view(batch: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """Random views of a whole batch."""
    return augment(batch, draw_views(how, len(batch), (batch.shape[2], batch.shape[3]), generator))


def test_a_batch_is_normalised_as_torchvision_s_weights_want_it() -> None:
    some = image_set()
    rows = torch.tensor([4, 0, 4])
    batch = some.batch(rows, CPU)
    preset = ResNet50_Weights.IMAGENET1K_V1.transforms()
    for image, row in zip(batch, rows.tolist(), strict=True):
        scaled = functional.to_dtype(torch.from_numpy(some.images[row]).permute(2, 0, 1), torch.float32, scale=True)
        torch.testing.assert_close(image, functional.normalize(scaled, preset.mean, preset.std), rtol=1e-5, atol=1e-6)
    assert batch.shape == (3, 3, 8, 8)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert len(some) == 6


def test_a_batch_leaves_the_shared_array_alone() -> None:
    some = image_set()
    before = some.images.copy()
    some.images.flags.writeable = False
    batch = some.batch(torch.arange(6), CPU)
    batch.zero_()
    assert np.array_equal(some.images, before)


def test_none_is_nothing() -> None:
    batch, generator = torch.randn(4, 3, 8, 8), draw()
    before = generator.get_state()
    assert view(batch, "none", generator) is batch
    assert torch.equal(generator.get_state(), before)


def test_flips_mirror_whole_images_one_in_two() -> None:
    count = 4000
    batch = torch.randn(count, 3, 2, 5)
    out = view(batch, "flip", draw())
    kept = (out == batch).flatten(1).all(1)
    mirrored = (out == batch[..., torch.arange(4, -1, -1)]).flatten(1).all(1)
    assert (kept ^ mirrored).all()
    assert abs(mirrored.sum().item() - count / 2) < 4 * (count / 4) ** 0.5
    runs = (mirrored[1:] == mirrored[:-1]).sum().item()  # images are flipped independently
    assert abs(runs - count / 2) < 4 * (count / 4) ** 0.5


@pytest.mark.parametrize("how", ["flip", "crop", "colour"])
def test_the_generator_decides(how: str) -> None:
    batch = torch.randn(16, 3, 12, 12)
    torch.manual_seed(1)
    first = view(batch, how, draw(3))
    torch.manual_seed(2)
    assert torch.equal(first, view(batch, how, draw(3)))
    assert torch.equal(first, view(batch.contiguous(memory_format=torch.channels_last), how, draw(3)))
    assert not torch.equal(first, view(batch, how, draw(4)))
    generator = draw(3)
    view(batch, how, generator)
    assert not torch.equal(first, view(batch, how, generator))  # the next batch has other draws
    assert first.shape == batch.shape
    assert first.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("how", ["flip", "crop", "colour"])
def test_an_image_s_view_does_not_depend_on_its_neighbours(how: str) -> None:
    batch = torch.randn(8, 3, 12, 12)
    whole = view(batch, how, draw())
    other = torch.cat([batch[:3], torch.randn(5, 3, 12, 12)])
    assert torch.equal(view(other, how, draw())[:3], whole[:3])


@pytest.mark.parametrize("how", ["none", "flip", "crop", "colour"])
def test_rows_of_the_draws_give_the_views_of_their_images_bit_for_bit(how: str) -> None:
    """Whatever the number of workers and the size of a share."""
    batch = torch.randn(37, 3, 12, 16)
    drawn = draw_views(how, 37, (12, 16), draw())
    whole = augment(batch, drawn)
    for workers in (1, 2, 3, 5, 37):
        for rank in range(workers):
            assert torch.equal(augment(batch[rank::workers], drawn[rank::workers]), whole[rank::workers])


def recoloured(image: np.ndarray, brightness: float, contrast: float) -> np.ndarray:
    """A uint8 image (H,W,3) with its colours varied, in float64 from 0 to 1."""
    bright = np.clip(image.astype(np.float64) / 255 * brightness, 0, 1)
    grey = sum(weight * bright[..., channel].mean() for channel, weight in enumerate((0.2989, 0.587, 0.114)))
    return np.clip(grey + contrast * (bright - grey), 0, 1)


def test_colours_vary_as_in_their_second_writing() -> None:
    """Extremes too, where pixels leave their range and are cut."""
    some, generator = image_set(40, side=9), draw()
    drawn = draw_views("colour", 40, (9, 9), generator)
    drawn[:4, 1:] = torch.tensor([[0.8, 1.2], [1.2, 0.8], [1.2, 1.2], [3.0, 5.0]])
    views = augment(some.batch(torch.arange(40), CPU), drawn)
    mean, std = np.array(images.MEAN), np.array(images.STD)
    cut = 0
    for image, view, (coin, brightness, contrast) in zip(some.images, views, drawn.tolist(), strict=True):
        plain = recoloured(image, brightness, contrast)
        cut += int(((plain == 0) | (plain == 1)).sum())
        expected = (plain[:, ::-1] if coin < 0.5 else plain) - mean
        np.testing.assert_allclose(view.permute(1, 2, 0).numpy(), expected / std, atol=2e-5)
    assert cut > 500


def test_factors_of_one_leave_the_colours() -> None:
    batch = image_set().batch(torch.arange(6), CPU)
    as_it_is = torch.tensor([[0.7, 1.0, 1.0]]).expand(6, 3)
    torch.testing.assert_close(augment(batch, as_it_is), batch, rtol=0, atol=1e-5)
    mirrored = torch.tensor([[0.2, 1.0, 1.0]]).expand(6, 3)
    torch.testing.assert_close(augment(batch, mirrored), batch.flip(3), rtol=0, atol=1e-5)


def test_factors_are_uniform_and_independent() -> None:
    coins, brightness, contrast = draw_views("colour", 4000, (8, 8), draw()).T
    for factors in (brightness, contrast):
        assert factors.min() >= 0.8
        assert factors.max() <= 1.2
        assert factors.mean() == pytest.approx(1.0, abs=0.01)
        assert factors.std() == pytest.approx(0.4 * 12**-0.5, abs=0.005)
    assert torch.corrcoef(torch.stack([coins, brightness, contrast])).triu(1).abs().max() < 0.06


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    seen: list[Tensor] = []
    original = images.roi_align

    def listen(batch: Tensor, boxes: Tensor, *rest: Any, **more: Any) -> Tensor:
        seen.append(boxes)
        return original(batch, boxes, *rest, **more)

    monkeypatch.setattr(images, "roi_align", listen)
    return seen


@pytest.mark.parametrize(("height", "width"), [(40, 40), (20, 50)])
def test_boxes_lie_in_the_image_with_area_and_aspect_in_range(boxes: list[Tensor], height: int, width: int) -> None:
    count = 3000
    view(torch.zeros(count, 1, height, width), "crop", draw())
    index, left, top, right, bottom = boxes[0].T
    assert torch.equal(index, torch.arange(count).float())
    slack = 1e-4
    assert (left >= -slack).all()
    assert (top >= -slack).all()
    assert (right <= width + slack).all()
    assert (bottom <= height + slack).all()
    across, down = (right - left) / width, (bottom - top) / height
    area, aspect = across * down, across / down
    assert (area >= 0.08 - slack).all()
    assert (area <= 1 + slack).all()
    assert (aspect >= 3 / 4 - slack).all()
    assert (aspect <= 4 / 3 + slack).all()
    assert area.min() < 0.1  # and the range is used
    assert area.max() > 0.95
    assert aspect.min() < 0.78
    assert aspect.max() > 1.28
    free = (area < 0.5).nonzero().flatten()
    where = (left / (width - (right - left)))[free]
    assert abs(where.mean() - 0.5) < 0.03
    assert where.std() == pytest.approx(12**-0.5, abs=0.02)  # uniform


def test_a_crop_shows_its_box(boxes: list[Tensor]) -> None:
    """Of an image that holds its own coordinates, a crop holds the coordinates of its box."""
    side = 32
    down, across = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    out = view(torch.stack([across, down]).expand(64, 2, side, side).contiguous(), "crop", draw())
    for (_, left, top, right, bottom), (x, y) in zip(boxes[0].tolist(), out, strict=True):
        steps = (torch.arange(side) + 0.5) / side
        expected_x, expected_y = left + steps * (right - left), top + steps * (bottom - top)
        inner = slice(2, -2)  # at the border, samples are clamped to the pixels' centres
        flipped = x[0, 0] > x[0, -1]
        row = x[5].flip(0) if flipped else x[5]
        torch.testing.assert_close(row[inner], expected_x[inner], atol=0.05, rtol=0)
        torch.testing.assert_close(y[:, 5][inner], expected_y[inner], atol=0.05, rtol=0)
