"""Images as a task meets them: uint8 arrays in memory, and float batches on a device with random augmentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

# torchvision's normalisation for ImageNet weights
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_LUMA = torch.tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R BT.601, of grey


class Pixels(Protocol):
    """Decoded images that are read by their numbers: an array in memory, or a stream that decodes what is asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, side, side, 3)."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """The images of int64 `rows` (B,): (B, side, side, 3) uint8."""


@runtime_checkable
class Prefetched(Pixels, Protocol):
    """Pixels that are made ahead of being asked for."""

    def prefetch(self, rows: np.ndarray, /) -> None:
        """See `ImageSet.prefetch`."""

    def close(self) -> None:
        """End what works ahead."""


@dataclass(frozen=True)
class ImageSet:
    """Images of one split, in canonical order.

    Args:
        pixels: (m, side, side, 3) uint8; may be a read-only map of shared memory, or a stream.
        labels: (n,) int64.
        rows: (n,) int64, which of `pixels` these are; None: all of them.
    """

    pixels: Pixels
    labels: np.ndarray
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def side(self) -> int:
        """Of the images, in pixels."""
        return self.pixels.shape[1]

    @property
    def streamed(self) -> bool:
        """Whether `prefetch` does anything."""
        return isinstance(self.pixels, Prefetched)

    @property
    def images(self) -> np.ndarray:
        """All of them: (n, side, side, 3) uint8, gathered anew each time."""
        return self.pixels[np.arange(len(self)) if self.rows is None else self.rows]

    def subset(self, keep: np.ndarray) -> "ImageSet":
        """The images where `keep` (n,) is true; nothing is copied but their numbers."""
        rows = np.arange(len(self)) if self.rows is None else self.rows
        return ImageSet(self.pixels, self.labels[keep], rows[keep])

    def prefetch(self, rows: Tensor) -> None:
        """Say which rows (m,) will be taken next, in this order; several times one after the other.

        A stream decodes them meanwhile. What is taken in another order is right as well, and slow.
        """
        if isinstance(self.pixels, Prefetched):
            self.pixels.prefetch(self._numbers(rows))

    def close(self) -> None:
        """End what decodes ahead, where there is such."""
        if isinstance(self.pixels, Prefetched):
            self.pixels.close()

    def take(self, rows: Tensor, device: torch.device) -> Tensor:
        """The images of `rows` (B,) as they are, on the device: (B, side, side, 3) uint8."""
        return torch.from_numpy(self.pixels[self._numbers(rows)]).to(device)

    def batch(self, rows: Tensor, device: torch.device) -> Tensor:
        """The images of `rows` (B,) as normalised floats (B, 3, side, side), channels last."""
        return normalise(self.take(rows, device))

    def _numbers(self, rows: Tensor) -> np.ndarray:
        numbers = rows.numpy()
        return numbers if self.rows is None else self.rows[numbers]


def normalise(taken: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """(B, H, W, 3) uint8 to floats (B, 3, H, W), channels last, as ImageNet weights want them or as told."""
    images = taken.permute(0, 3, 1, 2).float()
    centre = torch.tensor(mean, device=taken.device).view(1, 3, 1, 1) * 255
    scale = torch.tensor(std, device=taken.device).view(1, 3, 1, 1) * 255
    return ((images - centre) / scale).contiguous(memory_format=torch.channels_last)


def draw_views(how: str, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """What is random in the views of a batch of `count` images, drawn on the CPU so that every device gets the same.

    Several workers draw for the whole batch alike, and each takes its rows: an image's view does not depend on how many
    workers there are.

    Args:
        how: "none", "flip" (left to right, one in two), "crop" (8 to 100 % of the area, aspect 3/4 to 4/3, flip), or
            "colour" (flip, brightness and contrast between 0.8 and 1.2 times).
        count: B.
        size: (H, W) of the images in pixels.
        generator: on the CPU.

    Returns:
        (B, 0) for "none", (B, 1) for "flip", (B, 5) for "crop": a number below one half where the image is mirrored,
        then left, top, right and bottom of the box in pixels; (B, 3) for "colour": the same number, then the factors.
    """
    if how == "none":
        return torch.zeros(count, 0)
    coins = torch.rand(count, generator=generator)[:, None]
    if how == "colour":
        return torch.cat([coins, 0.8 + 0.4 * torch.rand(count, 2, generator=generator)], dim=1)
    return torch.cat([coins, _random_boxes(count, size, generator)], dim=1) if how == "crop" else coins


def augment(images: Tensor, drawn: Tensor) -> Tensor:
    """The views (B, 3, H, W) under what `draw_views` drew, of images (B, 3, H, W) as `normalise` gives them."""
    if not drawn.shape[1]:
        return images
    drawn = drawn.to(images.device)
    coins, boxes = drawn[:, 0], drawn[:, 1:]
    if boxes.shape[1] == 2:
        images = _recolour(images, boxes[:, 0], boxes[:, 1])
    elif boxes.shape[1]:
        indexed = torch.cat([torch.arange(len(images)).to(boxes)[:, None], boxes], dim=1)
        images = roi_align(images, indexed, images.shape[2:], sampling_ratio=2, aligned=True)
    flipped = torch.where((coins < 0.5).view(-1, 1, 1, 1), images.flip(3), images)
    return flipped.contiguous(memory_format=torch.channels_last)


def _recolour(images: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    """Pixels times a factor, then their distance to the image's mean grey times another; (B,) factors."""
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    pixels = ((images * std + mean) * brightness.view(-1, 1, 1, 1)).clamp(0, 1)
    grey = (pixels * _LUMA.to(images.device)).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    pixels = (grey + (pixels - grey) * contrast.view(-1, 1, 1, 1)).clamp(0, 1)
    return (pixels - mean) / std


def _random_boxes(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """One box an image: (B, 4) of left, top, right, bottom; area and aspect as in random-resized crop."""
    height, width = size
    area, aspect, x, y = torch.rand(4, count, generator=generator)
    share = 0.08 + 0.92 * area
    ratio = torch.exp((2 * aspect - 1) * np.log(4 / 3))
    box_width = (share * ratio).sqrt().clamp(max=1) * width
    box_height = (share / ratio).sqrt().clamp(max=1) * height
    left, top = x * (width - box_width), y * (height - box_height)
    return torch.stack([left, top, left + box_width, top + box_height], dim=1)
