"""Images as a task meets them: uint8 arrays in memory, and float batches on a device."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

# torchvision's normalisation for ImageNet weights
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


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
        return normalize(self.take(rows, device))

    def _numbers(self, rows: Tensor) -> np.ndarray:
        numbers = rows.numpy()
        return numbers if self.rows is None else self.rows[numbers]


def normalize(taken: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """(B, H, W, 3) uint8 to floats (B, 3, H, W), channels last, as ImageNet weights want them or as told."""
    batch, height, width, _ = taken.shape
    # Whole rows of pixels at a time: eight times as fast on a CPU as broadcasting over three channels.
    rows = taken.float().reshape(batch * height, width * 3)
    rows.sub_(_row(tuple(mean), width, rows.dtype, rows.device)).div_(_row(tuple(std), width, rows.dtype, rows.device))
    return rows.view(batch, height, width, 3).permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
def _row(channels: tuple[float, ...], width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What a row of pixels is compared with, kept on the device: copying it there would wait for what is queued."""
    return (torch.tensor(channels, dtype=dtype, device=device) * 255).repeat(width)
