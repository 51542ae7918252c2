"""The known backbones: names, taps and published weights.

This module imports no torch, so that configs can check a name or a tap. The networks are in
`raysearch.models.backbones`, which is imported when the first one is built.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from raysearch.core import Registry, UserError, nearest, user_code

if TYPE_CHECKING:
    from torch import nn

    from raysearch.models.backbones import Backbone

    Network = TypeVar("Network", bound=Callable[[], nn.Module])


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone before it is built.

    Attributes:
        name: the value of `model.backbone`.
        taps: the names of its feature maps, from shallow to deep.
        builder: called with the spec and the weights, or the place of such a function: "module:function".
        weights: the names of published weights; a state-dict file works with every backbone.
        split_tap: where `Backbone.split` cuts; None: at the second last tap.
        source: the file of an extension. Its content is part of a cell's hash.
        code: of a user's network, whose identity is part of a cell's hash.
        side_multiple: the side of the images has to be a multiple of it, as that of a vision transformer's patches.
    """

    name: str
    taps: tuple[str, ...]
    builder: str | Callable[[BackboneSpec, str | None], Backbone]
    weights: tuple[str, ...] = ()
    split_tap: str | None = None
    source: Path | None = None
    code: user_code.UserCode | None = None
    side_multiple: int = 1

    def build(self, weights: str | None) -> Backbone:
        """Build the backbone.

        Args:
            weights: None for random ones, a state-dict file, or the name of published weights.

        Raises:
            UserError: a file that does not fit the network.
        """
        builder = pkgutil.resolve_name(self.builder) if isinstance(self.builder, str) else self.builder
        return builder(self, weights)


BACKBONES = Registry[BackboneSpec]("backbone")

_BLOCKS = ("block1", "block2", "block3", "block4")
_BLOCK_NETWORK = "raysearch.models.backbones.block_networks:build_block_network"
_TORCHVISION = "raysearch.models.backbones.torchvision_networks:build_torchvision"

_BUILT_IN = (
    BackboneSpec("small", _BLOCKS, _BLOCK_NETWORK, ("DRAWN_BIRDS_V1",)),
    BackboneSpec("conv4", _BLOCKS, _BLOCK_NETWORK),
    BackboneSpec("resnet12", _BLOCKS, _BLOCK_NETWORK),
    # The nine levels that LWFM-SPM (arXiv 2411.06363) compares: the pooled stem and each of the eight blocks.
    BackboneSpec(
        "resnet18",
        ("maxpool", *(f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2))),
        _TORCHVISION,
        ("IMAGENET1K_V1",),
        split_tap="layer3.1",  # the end of the second last stage
    ),
    BackboneSpec(
        "resnet50", ("layer1", "layer2", "layer3", "layer4"), _TORCHVISION, ("IMAGENET1K_V1", "IMAGENET1K_V2")
    ),
    BackboneSpec("squeezenet1_1", ("features.4", "features.7", "features.12"), _TORCHVISION, ("IMAGENET1K_V1",)),
    BackboneSpec(
        "mobilenet_v2",
        ("features.3", "features.6", "features.13", "features.18"),
        _TORCHVISION,
        ("IMAGENET1K_V1", "IMAGENET1K_V2"),
    ),
)
for _spec in _BUILT_IN:
    BACKBONES.register(_spec.name, _spec)


def _lazily(function: str) -> Callable[[Any], BackboneSpec]:
    """Return a function that imports `module:function`, which needs torch, when it is called."""
    return lambda argument: pkgutil.resolve_name(function)(argument)


BACKBONES.from_code = _lazily("raysearch.models.backbones.user_networks:spec_of_code")
BACKBONES.from_library = {
    "timm": _lazily("raysearch.models.backbones.library_networks:timm_spec"),
    "torchvision": _lazily("raysearch.models.backbones.library_networks:torchvision_spec"),
}

BUILT_IN = tuple(spec.name for spec in _BUILT_IN)  # for help texts, which no extension changes


def check_weights(name: str, weights: str | None) -> None:
    """Check that `build` could find the weights, without building.

    Raises:
        UserError: unknown name or weights.
    """
    known = BACKBONES[name].weights
    if weights is None or weights in known or Path(weights).is_file():
        return
    raise UserError(
        f"model.weights: no file and no weights of {name} '{weights}'{nearest(weights, known)}; use "
        "--set model.weights=none for random ones, or the path of a file"
    )


def backbone(name: str, taps: Sequence[str]) -> Callable[[Network], Network]:
    """Register a network of a user's file as a backbone.

    The decorated class or function takes no argument and returns a module: images (B, 3, H, W) to
    {tap: (B, C, h, w)}. `model.weights` may name a state-dict file of that module.

    Args:
        name: the value of `model.backbone`.
        taps: the names of its feature maps, from shallow to deep.

    Raises:
        UserError: the name is taken.
    """

    def _register(network: Network) -> Network:
        source = Path(inspect.getfile(network))

        def _build(spec: BackboneSpec, weights: str | None) -> Backbone:
            from raysearch.models.backbones.backbone import build_from_module

            return build_from_module(spec, network(), weights)

        BACKBONES.register(name, BackboneSpec(name, tuple(taps), _build, source=source))
        return network

    return _register
