"""Images as a task meets them: uint8 arrays in memory, and float batches on a device with random augmentation."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

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

    def batch(self, rows: Tensor, device: torch.device) -> Tensor:
        """The images of `rows` (B,) as normalised floats (B, 3, side, side), channels last."""
        taken = torch.from_numpy(self.images[rows.numpy()]).to(device)
        images = taken.permute(0, 3, 1, 2).float()
        mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1) * 255
        std = torch.tensor(STD, device=device).view(1, 3, 1, 1) * 255
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """Random views of a batch (B, 3, H, W), drawn on the CPU so that every device gets the same.

    Args:
        how: "none", "flip" (left to right, one in two), or "crop" (8 to 100 % of the area, aspect 3/4 to 4/3, flip).
        generator: on the CPU.
    """
    if how == "none":
        return images
    coins = torch.rand(len(images), generator=generator)
    if how == "crop":
        images = roi_align(images, _random_boxes(images, generator), images.shape[2:], sampling_ratio=2, aligned=True)
    flipped = torch.where((coins < 0.5).to(images.device).view(-1, 1, 1, 1), images.flip(3), images)
    return flipped.contiguous(memory_format=torch.channels_last)


def _random_boxes(images: Tensor, generator: torch.Generator) -> Tensor:
    """One box an image: (B, 5) of index, left, top, right, bottom; area and aspect as in random-resized crop."""
    count, _, height, width = images.shape
    area, aspect, x, y = torch.rand(4, count, generator=generator)
    share = 0.08 + 0.92 * area
    ratio = torch.exp((2 * aspect - 1) * np.log(4 / 3))
    box_width = (share * ratio).sqrt().clamp(max=1) * width
    box_height = (share / ratio).sqrt().clamp(max=1) * height
    left, top = x * (width - box_width), y * (height - box_height)
    boxes = torch.stack([torch.arange(count).float(), left, top, left + box_width, top + box_height], dim=1)
    return boxes.to(images.device)
