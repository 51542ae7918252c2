"""The layers of HelixFormer (arXiv 2207.00784): two norms, a 1 x 1 convolution, and representation enhancement (REP).

Tokens are (..., H, W, C): channels are last. Everything here works on each position or on each image by itself.
"""

import torch
from torch import Tensor, nn

from raysearch.models.precision import at_least_single

DEVIATION_FLOOR = 1e-5  # added to the deviation
VARIANCE_FLOOR = 1e-12  # added to the variance


class PositionNorm(nn.Module):
    """Layer norm over the channels of each position: (..., C) -> (..., C), in float32 or wider, also under autocast.

    The released program adds the small number that keeps a constant position finite to the deviation, not to the
    variance. Departure: the deviation is sqrt(variance + 1e-12), since the slope of a root is infinite at zero.

    >>> PositionNorm(2)(torch.tensor([[3.0, 5.0], [4.0, 4.0]]))
    tensor([[-1.0000,  1.0000],
            [ 0.0000,  0.0000]], grad_fn=<AddcmulBackward0>)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalize each position over its channels: (..., C) -> (..., C), float32 or wider."""
        tokens = at_least_single(tokens)
        # torch.var_mean takes several times as long over a short last dimension.
        centered = tokens - tokens.mean(-1, keepdim=True)
        deviation = (centered.square().mean(-1, keepdim=True) + VARIANCE_FLOOR).sqrt()
        return torch.addcmul(self.bias, centered / (deviation + DEVIATION_FLOOR), self.weight)


class RepeatedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over images that stand for pairs: `norm(images (B,C,H,W), repeats)`.

    Outputs, gradients and running statistics are those of `norm(images.repeat(repeats, 1, 1, 1))`. HelixFormer
    normalizes projections of pairs of images, and in its first layer each projection depends on one image alone. The
    mean and the biased variance of a batch do not change when every row is repeated equally often, so each image is
    normalized once. Only the running variance, which is unbiased, counts rows: m rows become r m, and
    (r m) / (r m - 1) replaces m / (m - 1).

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
        """Normalize maps (B,C,H,W); in training, update the running statistics for `repeats` copies of each image."""
        if not self.training:
            return super().forward(images)
        # With a momentum of one, these buffers hold the statistics of this batch afterwards.
        mean = torch.zeros_like(self.running_mean)
        variance = torch.ones_like(self.running_var)
        normed = nn.functional.batch_norm(images, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        assert self.momentum is not None
        rows = images.numel() // images.shape[1]
        correction = (repeats * (rows - 1)) / (repeats * rows - 1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * correction, self.momentum)
        self.num_batches_tracked.add_(1)
        return normed


class Pointwise(nn.Conv2d):
    """A 1 x 1 convolution of tokens: (..., H, W, C) -> (..., H, W, outputs), at least one dimension in front of H.

    The maps are views in channels-last order, so nothing is copied. On a CPU, oneDNN's convolution takes about half the
    time of the matrix product in `nn.Linear` at the widths of Conv-4.

    >>> Pointwise(3, 5)(torch.ones(2, 7, 4, 4, 3)).shape
    torch.Size([2, 7, 4, 4, 5])
    """

    def __init__(self, channels: int, outputs: int, bias: bool = True) -> None:
        super().__init__(channels, outputs, 1, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply the convolution: (..., H, W, channels) -> (..., H, W, outputs)."""
        maps = super().forward(tokens.flatten(0, -4).permute(0, 3, 1, 2))
        return maps.permute(0, 2, 3, 1).unflatten(0, tokens.shape[:-3])


class RepresentationEnhancement(nn.Module):
    """REP (figure 2), a network at each position: f + FFN(norm(f)), (..., H, W, C) -> (..., H, W, C).

    FFN is two 1 x 1 convolutions with GELU between them.

    Args:
        channels: C.
        ratio: hidden channels over C.
        dropout: probability, after each convolution.

    >>> RepresentationEnhancement(6, ratio=4, dropout=0.0)(torch.zeros(2, 3, 3, 6)).shape
    torch.Size([2, 3, 3, 6])
    """

    def __init__(self, channels: int, ratio: int, dropout: float) -> None:
        super().__init__()
        self.norm = PositionNorm(channels)
        self.network = nn.Sequential(
            Pointwise(channels, ratio * channels),
            nn.GELU(),
            nn.Dropout(dropout),
            Pointwise(ratio * channels, channels),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return f + FFN(norm(f)) at each position: (..., H, W, C) -> (..., H, W, C)."""
        return tokens + self.network(self.norm(tokens))
