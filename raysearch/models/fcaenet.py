"""The network of FCAENet, arXiv 2110.04479, equations 1 and 2: a convolutional backbone, pooling and a hash layer.

Anchor, positive and erased images go through the same network. SREM uses the last feature map, ADSH and ESRL use the
outputs. Departure, as an option: features are standardized (batch norm without affine) before the hash layer, because
features of some backbones are so large that tanh saturates at once and nothing is learned.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from raysearch.models.backbones import Backbone


class HashOutput(NamedTuple):
    """Output of the network for a batch."""

    z: Tensor  # (B, c) outputs before the activation, float32
    features: Tensor  # (B, C, h, w) last feature map

    @property
    def u(self) -> Tensor:
        """(B, c) in (-1, 1), equation 2."""
        return torch.tanh(self.z)


class HashLayer(nn.Module):
    """Maps pooled features (B, C) to outputs (B, c) before the activation.

    The standardization uses the statistics of a batch, unless `fit_statistics` took them from a whole set. Then they
    stay: with a pretrained backbone, the noise of batch statistics undoes the warm-up within an epoch.
    """

    def __init__(self, channels: int, bits: int, standardise: bool, bias: bool = True) -> None:
        super().__init__()
        self.standardise = nn.BatchNorm1d(channels, affine=False) if standardise else None
        self.linear = nn.Linear(channels, bits, bias=bias)
        self._fitted = False

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled features (B, C) to outputs (B, c)."""
        if self.standardise is not None:
            pooled = self.standardise(pooled)
        return self.linear(pooled)

    def train(self, mode: bool = True) -> "HashLayer":
        """Set the mode; statistics that were fitted to a whole set stay fixed."""
        super().train(mode)
        if self._fitted and self.standardise is not None:
            self.standardise.eval()
        return self

    @torch.no_grad()
    def fit_statistics(self, pooled: Tensor) -> None:
        """Take mean and variance of the standardization from the features (n, C) of a whole set, and keep them."""
        self._fitted = True
        if self.standardise is not None:
            self.standardise.running_mean.copy_(pooled.mean(0))  # type: ignore[union-attr]
            self.standardise.running_var.copy_(pooled.var(0))  # type: ignore[union-attr]


class FCAENet(nn.Module):
    """Maps images (B, 3, H, W) to a `HashOutput`."""

    def __init__(self, backbone: Backbone, bits: int, standardise: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.hash_layer = HashLayer(backbone.channels, bits, standardise)

    def forward(self, images: Tensor) -> HashOutput:
        """Map images (B, 3, H, W) to outputs and the last feature map."""
        features = self.feature_map(images)
        # Outputs are small (0.06 at 12 bits), so everything after the backbone is computed in float32.
        with torch.autocast(images.device.type, enabled=False):
            return HashOutput(self.from_pooled(pool(features)), features)

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last feature map: (B, C, h, w)."""
        return self.backbone(images)[self.backbone.taps[-1]]

    def from_pooled(self, pooled: Tensor) -> Tensor:
        """Return outputs before the activation (B, c) for pooled features (B, C)."""
        return self.hash_layer(pooled)

    def new_layers(self) -> list[nn.Module]:
        """Return the layers that have no pretrained weights."""
        return [self.hash_layer]


def pool(features: Tensor) -> Tensor:
    """Return the mean over positions: (B, C, h, w) to (B, C) float32."""
    return features.float().mean((2, 3))
