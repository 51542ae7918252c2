"""Backbones that torchvision lacks, each four blocks in a row: `network(images (B,3,H,W)) -> {"block1": map, ...}`.

`small` is for laptops: stride 8, about 12 million multiply-adds at 64 px. `conv4` and `resnet12` are the networks of
few-shot recognition as HelixFormer (arXiv 2207.00784) uses them: Conv-4 pools after its first two blocks only, and
ResNet-12 does not pool after its last. Attention between images needs positions: 21 x 21 and 10 x 10 at 84 px.
Departure: ResNet-12 has no DropBlock here.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

from raysearch.models.backbone_specs import BackboneSpec
from raysearch.models.backbones.backbone import Backbone, load_weights

# Made by `python -m raysearch.tasks.pretraining.make_weights`
_PUBLISHED = {("small", "DRAWN_BIRDS_V1"): Path(__file__).parents[1] / "weights" / "small_drawn_birds_v1.pt"}


class Blocks(nn.Module):
    """Blocks in a row. The map after each is a tap; `widths` are the channels of the maps."""

    widths: tuple[int, ...]

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        for index, block in enumerate(blocks, start=1):
            self.add_module(f"block{index}", block)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the map after each block of images (B,3,H,W): "block1" and so on -> (B,C,H',W')."""
        maps = {}
        for name, block in self.named_children():
            maps[name] = images = block(images)
        return maps


class SmallNetwork(Blocks):
    """Four blocks of convolution, batch norm and ReLU; strides 2, 2, 2, 1."""

    widths = (24, 48, 96, 128)
    strides = (2, 2, 2, 1)

    def __init__(self) -> None:
        super().__init__(
            *(
                nn.Sequential(
                    nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(fan_out), nn.ReLU()
                )
                for (fan_in, fan_out), stride in zip(pairwise((3, *self.widths)), self.strides, strict=True)
            )
        )


class Conv4(Blocks):
    """Four blocks of convolution, batch norm and LeakyReLU of 64 channels; 2 x 2 max-pools in the first two.

    >>> sum(parameter.numel() for parameter in Conv4().parameters())
    112832
    """

    widths = (64, 64, 64, 64)
    pools = (2, 2, 1, 1)

    def __init__(self) -> None:
        super().__init__(
            *(
                nn.Sequential(
                    nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False),
                    nn.BatchNorm2d(fan_out),
                    nn.LeakyReLU(0.2),
                    *([nn.MaxPool2d(pool)] if pool > 1 else []),
                )
                for (fan_in, fan_out), pool in zip(pairwise((3, *self.widths)), self.pools, strict=True)
            )
        )


class ResNet12(Blocks):
    """Four residual blocks, 2 x 2 max-pools in all but the last; Kaiming initialization by fan out."""

    widths = (64, 128, 256, 512)
    pools = (2, 2, 2, 1)

    def __init__(self) -> None:
        super().__init__(
            *(
                nn.Sequential(ResidualBlock(fan_in, fan_out), *([nn.MaxPool2d(pool)] if pool > 1 else []))
                for (fan_in, fan_out), pool in zip(pairwise((3, *self.widths)), self.pools, strict=True)
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")


class ResidualBlock(nn.Module):
    """Three 3 x 3 convolutions with batch norm, and a 1 x 1 convolution with batch norm around them; LeakyReLU."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            *_normed(fan_in, fan_out, 3),
            nn.LeakyReLU(0.1),
            *_normed(fan_out, fan_out, 3),
            nn.LeakyReLU(0.1),
            *_normed(fan_out, fan_out, 3),
        )
        self.shortcut = nn.Sequential(*_normed(fan_in, fan_out, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return LeakyReLU(path + shortcut): (B,fan_in,H,W) -> (B,fan_out,H,W)."""
        return nn.functional.leaky_relu(self.path(features) + self.shortcut(features), 0.1)


def _normed(fan_in: int, fan_out: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(fan_in, fan_out, kernel, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(fan_out)


_NETWORKS: dict[str, Callable[[], Blocks]] = {"small": SmallNetwork, "conv4": Conv4, "resnet12": ResNet12}


def build_block_network(spec: BackboneSpec, weights: str | None) -> Backbone:
    """Build a backbone of this module; see `BackboneSpec.build`."""
    network = _NETWORKS[spec.name]()
    if weights is not None:
        load_weights(network, str(_PUBLISHED.get((spec.name, weights), weights)))
    return Backbone(network, spec.taps, network.widths)
