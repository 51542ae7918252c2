"""Random views of images: mirrors, random-resized crops, and colours, in batches on the images' device.

An image's view follows from the seed, the place in the run, the image's row, and which of the row's views it is; not
from the batch that the image is in, its position there, or the number of workers.

The recipes are torchvision's `RandomHorizontalFlip`, `RandomResizedCrop` and `ColorJitter`. Departure: torchvision's
transforms draw once for a whole batch, and its crops and factors apply to a whole batch; here each image has its own,
drawn on the CPU so that every device gets the same. Images come decoded to their side: a crop shows no more detail than
the whole image did, and nothing that a zoom cut off. Crops are bytes again, as torchvision's of decoded images are;
between changes of colour pixels are not rounded.

On a CPU crops are cut image by image by torchvision's own kernel for bytes, six times as fast there as one call for
all of them, which is what a GPU is given.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from raysearch.data.feed import philox
from raysearch.data.feed.image_set import MEAN, STD, normalize

TRIES = 10  # boxes that a random-resized crop draws until one fits; torchvision's
_AREA, _ASPECT = (0.08, 1.0), 4 / 3  # of a box, as share of the image and at most; torchvision's
_JITTER = 0.2  # brightness and contrast vary by; HelixFormer's released code
_LUMA = 0.2989, 0.587, 0.114  # of grey; ITU-R BT.601, torchvision's
_NUMBERS = {"none": 0, "flip": 1, "colour": 4, "crop": 3 + 2 * TRIES}  # random ones of a view


def draw_views(
    how: str, rows: Tensor, size: tuple[int, int], key: Sequence[int], apart: Sequence[Tensor] = ()
) -> Tensor:
    """What is random in the views of some images. The same row under the same key has the same view.

    Args:
        how: "none", "flip" (left to right, one in two), "crop" (8 to 100 % of the area, aspect 3/4 to 4/3, flip), or
            "colour" (flip, then brightness and contrast between 0.8 and 1.2 times, in either order).
        rows: (B,) int64 of the images in their set.
        size: (H, W) of the images in pixels.
        key: the seed and the place in the run, and what the views are for.
        apart: up to two more (B,) int64, 0 or more, that tell views of one row under one key apart, such as
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
    numbers = philox.uniforms(key, [one.numpy() for one in (rows, *apart)], _NUMBERS[how])
    parts: list[np.ndarray] = [numbers[:, :1] < 0.5]
    if how == "crop":
        parts.append(_boxes(numbers[:, 1:], size))
    elif how == "colour":
        parts += [1 + _JITTER * (2 * numbers[:, 1:3] - 1), numbers[:, 3:] < 0.5]
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))


def augment(taken: Tensor, drawn: Tensor) -> Tensor:
    """The views under what `draw_views` drew.

    Args:
        taken: (B, H, W, 3) uint8, as `ImageSet.take` gives them.
        drawn: (B, k).

    Returns:
        Normalised floats (B, 3, H, W), channels last, as `normalise` gives them.
    """
    if not drawn.shape[1]:
        return normalize(taken)
    placed = _crop_each(taken, drawn) if taken.device.type == "cpu" else _crop_batch(taken, drawn.to(taken.device))
    images = normalize(placed)
    return _recolour(images, *drawn[:, 1:].to(images).T) if drawn.shape[1] == 4 else images


def occurrences(rows: Tensor) -> Tensor:
    """How often each row came before in its last dimension: int64 of the same shape.

    Example:
        >>> occurrences(torch.tensor([7, 2, 7, 7]))
        tensor([0, 0, 1, 2])
    """
    return (rows[..., :, None] == rows[..., None, :]).tril(-1).sum(-1)


def _boxes(numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Left, top, right and bottom (B, 4) by numbers (B, 2 + 2 TRIES) from 0 to 1: the first box drawn that fits.

    Where none fits it is the image's middle, as large as the aspect allows.
    """
    height, width = size
    share = _AREA[0] + (_AREA[1] - _AREA[0]) * numbers[:, 2 : 2 + TRIES]
    aspect = _ASPECT ** (2 * numbers[:, 2 + TRIES :] - 1)
    across, down = (np.rint(np.sqrt(share * height * width * ratio)) for ratio in (aspect, 1 / aspect))
    fits = (across > 0) & (across <= width) & (down > 0) & (down <= height)
    any_fits, first = fits.any(1), (np.arange(len(fits)), fits.argmax(1))
    across = np.where(any_fits, across[first], min(width, round(height * _ASPECT)))
    down = np.where(any_fits, down[first], min(height, round(width * _ASPECT)))
    left = np.floor(np.where(any_fits, numbers[:, 0] * (width - across + 1), (width - across) / 2))
    top = np.floor(np.where(any_fits, numbers[:, 1] * (height - down + 1), (height - down) / 2))
    return np.stack([left, top, left + across, top + down], axis=1)


def _crop_each(images: Tensor, drawn: Tensor) -> Tensor:
    """Images (B, H, W, 3) of bytes cropped to their boxes, if there are any, brought back to (H, W), and mirrored."""
    out, size, crops = torch.empty_like(images), images.shape[1:3], drawn.shape[1] == 5
    sources, views = images.permute(0, 3, 1, 2).split(1), out.permute(0, 3, 1, 2).split(1)
    for source, view, (mirrored, *rest) in zip(sources, views, drawn.int().tolist(), strict=True):
        if crops:  # larger than the box: antialiasing changes nothing, and its kernel is the faster one
            left, top, right, bottom = rest
            source = interpolate(source[:, :, top:bottom, left:right], size, mode="bilinear", antialias=True)
        view.copy_(source.flip(3) if mirrored else source)
    return out


def _crop_batch(images: Tensor, drawn: Tensor) -> Tensor:
    """`_one_by_one` in one call, between the centres of pixels; a byte may be rounded the other way."""
    (height, width), boxes = images.shape[1:3], drawn[:, 1:]
    if drawn.shape[1] == 5:
        x, y = (_centres(boxes[:, side], boxes[:, side + 2], count) for side, count in ((0, width), (1, height)))
        grid = torch.stack([x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=3)
        cut = grid_sample(images.permute(0, 3, 1, 2).float(), grid, padding_mode="border", align_corners=False)
        images = cut.round_().clamp_(0, 255).byte().permute(0, 2, 3, 1)
    return torch.where((drawn[:, 0] > 0).view(-1, 1, 1, 1), images.flip(2), images)


def _centres(start: Tensor, end: Tensor, count: int) -> Tensor:
    """Where `count` pixels (B, count) look in the image between two edges (B,), from -1 to 1 over `count` pixels."""
    shares = (torch.arange(count, device=start.device, dtype=start.dtype) + 0.5) / count
    centres = start[:, None] + shares * (end - start)[:, None]
    # Nothing outside the box is seen: its outer half pixels have no neighbour.
    inside = torch.minimum(torch.maximum(centres, start[:, None] + 0.5), end[:, None] - 0.5)
    return 2 * inside / count - 1


def _recolour(images: Tensor, brightness: Tensor, contrast: Tensor, contrast_first: Tensor) -> Tensor:
    """Pixels times a factor, and their distance to the image's mean grey times another; (B,) factors and order."""
    mean, std = (torch.tensor(of, device=images.device, dtype=images.dtype).view(1, 3, 1, 1) for of in (MEAN, STD))
    luma = torch.tensor(_LUMA, device=images.device, dtype=images.dtype)
    pixels = torch.addcmul(mean, images, std)
    first = contrast_first > 0
    for turn in (first, ~first):
        grey = (pixels.permute(0, 2, 3, 1).flatten(1, 2).mean(1) * luma).sum(1)
        kept = torch.where(turn, (1 - contrast) * grey, 0).view(-1, 1, 1, 1)
        factor = torch.where(turn, contrast, brightness).view(-1, 1, 1, 1)
        pixels = torch.addcmul(kept, pixels, factor).clamp_(0, 1)
    return pixels.sub_(mean).div_(std)
