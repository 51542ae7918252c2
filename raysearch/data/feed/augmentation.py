"""Random views of images: flips, random-resized crops and color jitter, in batches on the images' device.

A view depends on the seed, the moment in the run, the image's row, and which of the row's views it is. It does not
depend on the batch, the position in the batch, or the number of workers.

The recipes are torchvision's `RandomHorizontalFlip`, `RandomResizedCrop` and `ColorJitter`. Departure: torchvision's
transforms draw once per batch. Here each image has its own draw, made on the CPU so that every device gets the same.
Images are already decoded to their side, so a crop shows no more detail than the whole image. Crops are bytes, as
torchvision's crops of decoded images are; between color changes, pixels are not rounded.

On a CPU, torchvision's kernel for bytes crops image by image, six times as fast as one call for the batch. A GPU gets
one call.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from raysearch.data.feed import philox
from raysearch.data.feed.image_set import MEAN, STD, normalize

TRIES = 10  # boxes that a random-resized crop may draw until one fits, as in torchvision
_AREA, _ASPECT = (0.08, 1.0), 4 / 3  # share of the image's area, and largest aspect ratio, as in torchvision
_JITTER = 0.2  # range of brightness and contrast, as in HelixFormer's released code
_LUMA = 0.2989, 0.587, 0.114  # weights of gray, ITU-R BT.601, as in torchvision
_NUMBERS = {"none": 0, "flip": 1, "colour": 4, "crop": 3 + 2 * TRIES}  # random numbers per view


def draw_views(
    how: str, rows: Tensor, size: tuple[int, int], key: Sequence[int], apart: Sequence[Tensor] = ()
) -> Tensor:
    """Draw the random numbers of the views of images. The same row under the same key gets the same view.

    Args:
        how: "none", "flip" (left to right, one in two), "crop" (8 to 100 % of the area, aspect 3/4 to 4/3, flip), or
            "colour" (flip, then brightness and contrast between 0.8 and 1.2 times, in either order).
        rows: (B,) int64, rows of the images in their set.
        size: (H, W) of the images in pixels.
        key: the seed, the moment in the run, and the purpose of the views.
        apart: up to two more (B,) int64, at least 0, that distinguish views of one row under one key, such as
            `occurrences`.

    Returns:
        (B, 0) for "none", (B, 1) for "flip", (B, 5) for "crop", (B, 4) for "colour": 1 where the image is mirrored,
        else 0; then left, top, right and bottom of the box in whole pixels, or the factors of brightness and contrast
        and 1 where contrast comes first.

    Example:
        >>> drawn = draw_views("flip", torch.tensor([8, 1, 5]), (84, 84), key=(0, 3))
        >>> torch.equal(drawn[1:], draw_views("flip", torch.tensor([1, 5]), (84, 84), key=(0, 3)))
        True
    """
    numbers = philox.uniforms(key, [counter.numpy() for counter in (rows, *apart)], _NUMBERS[how])
    parts: list[np.ndarray] = [numbers[:, :1] < 0.5]
    if how == "crop":
        parts.append(_boxes(numbers[:, 1:], size))
    elif how == "colour":
        parts += [1 + _JITTER * (2 * numbers[:, 1:3] - 1), numbers[:, 3:] < 0.5]
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))


def augment(taken: Tensor, drawn: Tensor) -> Tensor:
    """Apply the views that `draw_views` drew.

    Args:
        taken: (B, H, W, 3) uint8, as `ImageSet.take` returns them.
        drawn: (B, k), as `draw_views` returns them, on the device of the images. Upload the numbers of an epoch at
            once: a copy in each step would wait for the device.

    Returns:
        (B, 3, H, W) normalized floats, channels last, as `normalize` returns them.
    """
    if not drawn.shape[1]:
        return normalize(taken)
    placed = _crop_each(taken, drawn) if taken.device.type == "cpu" else _crop_batch(taken, drawn)
    images = normalize(placed)
    return _jitter_color(images, *drawn[:, 1:].to(images.dtype).T) if drawn.shape[1] == 4 else images


def occurrences(rows: Tensor) -> Tensor:
    """Return how often each row occurred earlier in the last dimension: int64 of the same shape.

    Example:
        >>> occurrences(torch.tensor([7, 2, 7, 7]))
        tensor([0, 0, 1, 2])
    """
    return (rows[..., :, None] == rows[..., None, :]).tril(-1).sum(-1)


def _boxes(numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return left, top, right and bottom (B, 4) of the first drawn box that fits.

    If none fits, the box is the middle of the image, as large as the aspect ratio allows.

    Args:
        numbers: (B, 2 + 2 TRIES), uniform from 0 to 1.
        size: (H, W) in pixels.
    """
    height, width = size
    share = _AREA[0] + (_AREA[1] - _AREA[0]) * numbers[:, 2 : 2 + TRIES]
    aspect = _ASPECT ** (2 * numbers[:, 2 + TRIES :] - 1)
    across, down = (np.rint(np.sqrt(share * height * width * ratio)) for ratio in (aspect, 1 / aspect))
    fits = (across > 0) & (across <= width) & (down > 0) & (down <= height)
    any_fits = fits.any(1)
    first = np.arange(len(fits)), fits.argmax(1)
    across = np.where(any_fits, across[first], min(width, round(height * _ASPECT)))
    down = np.where(any_fits, down[first], min(height, round(width * _ASPECT)))
    left = np.floor(np.where(any_fits, numbers[:, 0] * (width - across + 1), (width - across) / 2))
    top = np.floor(np.where(any_fits, numbers[:, 1] * (height - down + 1), (height - down) / 2))
    return np.stack([left, top, left + across, top + down], axis=1)


def _crop_each(images: Tensor, drawn: Tensor) -> Tensor:
    """Crop images (B, H, W, 3) of bytes to their boxes, resize them back to (H, W), and mirror them, one by one."""
    out = torch.empty_like(images)
    size = images.shape[1:3]
    crops = drawn.shape[1] == 5
    sources = images.permute(0, 3, 1, 2).split(1)
    views = out.permute(0, 3, 1, 2).split(1)
    for source, view, (mirrored, *rest) in zip(sources, views, drawn.int().tolist(), strict=True):
        if crops:  # enlarges the box: antialiasing changes nothing, and its kernel is faster
            left, top, right, bottom = rest
            source = interpolate(source[:, :, top:bottom, left:right], size, mode="bilinear", antialias=True)
        view.copy_(source.flip(3) if mirrored else source)
    return out


def _crop_batch(images: Tensor, drawn: Tensor) -> Tensor:
    """Do the work of `_crop_each` in one call. A byte may be rounded the other way."""
    height, width = images.shape[1:3]
    boxes = drawn[:, 1:]
    if drawn.shape[1] == 5:
        x, y = (_centres(boxes[:, side], boxes[:, side + 2], count) for side, count in ((0, width), (1, height)))
        grid = torch.stack([x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=3)
        cut = grid_sample(images.permute(0, 3, 1, 2).float(), grid, padding_mode="border", align_corners=False)
        images = cut.round_().clamp_(0, 255).byte().permute(0, 2, 3, 1)
    return torch.where((drawn[:, 0] > 0).view(-1, 1, 1, 1), images.flip(2), images)


def _centres(start: Tensor, end: Tensor, count: int) -> Tensor:
    """Return the sampling positions (B, count) of `count` pixels between two edges (B,), from -1 to 1."""
    shares = (torch.arange(count, device=start.device, dtype=start.dtype) + 0.5) / count
    centres = start[:, None] + shares * (end - start)[:, None]
    # Nothing outside the box is sampled: its outer half pixels have no neighbor.
    inside = torch.minimum(torch.maximum(centres, start[:, None] + 0.5), end[:, None] - 0.5)
    return 2 * inside / count - 1


def _jitter_color(images: Tensor, brightness: Tensor, contrast: Tensor, contrast_first: Tensor) -> Tensor:
    """Scale brightness, and contrast around the mean gray, by factors (B,) in the drawn order."""
    mean, std = (_constant(values, images.dtype, images.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    luma = _constant(_LUMA, images.dtype, images.device)
    pixels = torch.addcmul(mean, images, std)
    first = contrast_first > 0
    for turn in (first, ~first):
        gray = (pixels.permute(0, 2, 3, 1).flatten(1, 2).mean(1) * luma).sum(1)
        offset = torch.where(turn, (1 - contrast) * gray, 0).view(-1, 1, 1, 1)
        factor = torch.where(turn, contrast, brightness).view(-1, 1, 1, 1)
        pixels = torch.addcmul(offset, pixels, factor).clamp_(0, 1)
    return pixels.sub_(mean).div_(std)


@lru_cache(maxsize=16)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers on a device. They are cached there, because a copy waits for its queue."""
    return torch.tensor(values, dtype=dtype, device=device)
