"""Images as a task meets them: uint8 arrays in memory, and float batches on a device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# torchvision's normalisation for ImageNet weights
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageSet:
    """Decoded images of one split, in canonical order.

    Args:
        images: (n, side, side, 3) uint8; may be a read-only map of shared memory.
        labels: (n,) int64.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor, device: torch.device) -> Tensor:
        """The images of `rows` (B,) as they are, on the device: (B, side, side, 3) uint8."""
        return torch.from_numpy(self.images[rows.numpy()]).to(device)

    def batch(self, rows: Tensor, device: torch.device) -> Tensor:
        """The images of `rows` (B,) as normalised floats (B, 3, side, side), channels last."""
        return normalise(self.take(rows, device))


def normalise(taken: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """(B, H, W, 3) uint8 to floats (B, 3, H, W), channels last, as ImageNet weights want them or as told."""
    images = taken.permute(0, 3, 1, 2).float()
    centre = torch.tensor(mean, device=taken.device).view(1, 3, 1, 1) * 255
    scale = torch.tensor(std, device=taken.device).view(1, 3, 1, 1) * 255
    return ((images - centre) / scale).contiguous(memory_format=torch.channels_last)
