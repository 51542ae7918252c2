"""Other constants of normalization than ImageNet's, by which all images arrive normalized.

The mean and the deviation of LWFM-SPM's released program (arXiv 2411.06363) are in gray levels of 0 to 255.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of the images that arrive
LWFM = (125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)


class Renormalization(nn.Module):
    """Images (B, 3, H, W) normalized by ImageNet's constants to images normalized by others.

    Its constants are no part of a checkpoint.

    Args:
        mean: of each channel, for pixels from 0 to 1.
        std: the standard deviation.

    >>> black = -torch.tensor(IMAGENET[0]).div(torch.tensor(IMAGENET[1])).view(1, 3, 1, 1)
    >>> Renormalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))(black).flatten().round(decimals=5).tolist()
    [-2.0, -2.0, -2.0]
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        given_mean, given_std, wanted_mean, wanted_std = (torch.tensor(row) for row in (*IMAGENET, mean, std))
        self.register_buffer("scale", (given_std / wanted_std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", ((given_mean - wanted_mean) / wanted_std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the images normalized by the other constants."""
        return images * self.scale + self.shift
