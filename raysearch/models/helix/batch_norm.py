"""Batch norm over images that stand for pairs, each image for equally many.

HelixFormer (arXiv 2207.00784) normalises projections of pairs of images, and in its first layer what a pair has of an
image is the image's alone. Mean and biased variance of a batch do not change when every row is repeated equally often,
so images are normalised once, with the same outputs and gradients; only the running variance, which is unbiased,
counts rows: m of them become r m, and (r m) / (r m - 1) takes the place of m / (m - 1).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class RepeatedBatchNorm2d(nn.BatchNorm2d):
    """`norm(images (B,C,H,W), repeats)` leaves and keeps what `norm(images.repeat(repeats, 1, 1, 1))` would.

    >>> images, norm, plain = torch.arange(8.0).view(2, 1, 2, 2), RepeatedBatchNorm2d(1), nn.BatchNorm2d(1)
    >>> torch.allclose(norm(images, 3), plain(images.repeat(3, 1, 1, 1))[:2])
    True
    >>> torch.allclose(norm.running_var, plain.running_var)
    True
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, images: Tensor, repeats: int = 1) -> Tensor:
        if not self.training:
            return super().forward(images)
        # With a momentum of one the buffers handed in hold the statistics of this batch afterwards.
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        normed = functional.batch_norm(images, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        assert self.momentum is not None
        rows = images.numel() // images.shape[1]
        counted = (repeats * (rows - 1)) / (repeats * rows - 1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * counted, self.momentum)
        self.num_batches_tracked.add_(1)
        return normed
