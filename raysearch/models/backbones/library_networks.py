"""Any image network of timm or torchvision as a backbone: `timm:NAME` and `torchvision:NAME`.

Images come normalized as torchvision normalizes them. A network of timm that was trained with another normalization
gets its own.

Taps of timm are the levels of `features_only`. Taps of torchvision are the last maps of each size, by the names of its
modules. Tokens of a vision transformer become a map, without the class token.
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from raysearch.core import UserError, nearest
from raysearch.models.backbone_specs import BackboneSpec
from raysearch.models.backbones.backbone import Backbone, load_weights
from raysearch.models.renormalization import IMAGENET, Renormalization

_MEAN, _STD = IMAGENET
_PROBES = 64, 224  # sides of the images that a network is tried with, in pixels
_LARGEST = 5  # taps


class _Levels(nn.Module):
    """A network that returns maps in a list or a dict, as a network with named maps.

    Args:
        network: images (B, 3, H, W) to maps.
        taps: names of the maps, in their order.
        channels_last: the maps are (B, h, w, C).
        mean: mean of the images that the network was trained with, per channel.
        std: their standard deviation.
    """

    def __init__(
        self,
        network: nn.Module,
        taps: Sequence[str],
        channels_last: bool = False,
        mean: Sequence[float] = _MEAN,
        std: Sequence[float] = _STD,
    ) -> None:
        super().__init__()
        self.network = network
        self._taps = tuple(taps)
        self._channels_last = channels_last
        as_trained = (tuple(mean), tuple(std)) == IMAGENET
        self._renormalize = nn.Identity() if as_trained else Renormalization(mean, std)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps (B, C, h, w) of normalized images (B, 3, H, W), by tap."""
        maps = self.network(self._renormalize(images))
        maps = list(maps.values()) if isinstance(maps, dict) else maps
        if self._channels_last:
            maps = [level.permute(0, 3, 1, 2) for level in maps]
        return dict(zip(self._taps, maps, strict=True))


class _TokenMap(nn.Module):
    """A vision transformer of torchvision whose tokens are a map.

    Args:
        network: `torchvision.models.VisionTransformer`.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the map (B, C, h, w) of images (B, 3, H, W)."""
        network = self.network
        tokens = network._process_input(images)
        tokens = torch.cat([network.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = network.encoder(tokens)[:, 1:]
        rows = images.shape[2] // network.patch_size
        return [tokens.transpose(1, 2).unflatten(2, (rows, -1))]


@functools.lru_cache
def timm_spec(name: str) -> BackboneSpec:
    """Return the spec of a network of timm.

    Args:
        name: as timm names it, such as "vit_tiny_patch16_224".

    Raises:
        UserError: timm is not installed, or has no such network with maps.
    """
    timm = _import_timm()
    if not timm.is_model(name):
        raise UserError(f"timm has no network '{name}'{nearest(name, timm.list_models())}")
    with torch.random.fork_rng(devices=[]):
        network, _ = _probe(lambda side: _create_timm(name, side, None), f"timm:{name}")
    weights = tuple(tag.partition(".")[2] or "default" for tag in timm.list_pretrained(f"{name}*") if _is_of(tag, name))
    patch = getattr(getattr(getattr(network.network, "model", None), "patch_embed", None), "patch_size", 1)
    multiple = patch[0] if isinstance(patch, tuple) else patch
    return BackboneSpec(f"timm:{name}", network._taps, _build_timm, weights, side_multiple=multiple)


@functools.lru_cache
def torchvision_spec(name: str) -> BackboneSpec:
    """Return the spec of a network of torchvision.

    Args:
        name: as torchvision names it, such as "convnext_tiny".

    Raises:
        UserError: torchvision has no such network.
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise UserError(f"torchvision has no network '{name}'{nearest(name, names)}")
    with torch.random.fork_rng(devices=[]):
        network = _create_torchvision(name, None)
    weights = tuple(torchvision.models.get_model_weights(name).__members__)
    return BackboneSpec(f"torchvision:{name}", network._taps, _build_torchvision, weights)


def _build_timm(spec: BackboneSpec, weights: str | None) -> Backbone:
    name = spec.name.partition(":")[2]
    network, maps = _probe(lambda side: _create_timm(name, side, weights), spec.name)
    return _as_backbone(spec, network, maps, weights)


def _build_torchvision(spec: BackboneSpec, weights: str | None) -> Backbone:
    network = _create_torchvision(spec.name.partition(":")[2], weights)
    _, maps = _probe(lambda side: network, spec.name, _PROBES[::-1])
    return _as_backbone(spec, network, maps, weights)


def _as_backbone(spec: BackboneSpec, network: _Levels, maps: dict[str, Tensor], weights: str | None) -> Backbone:
    if weights is not None and Path(weights).is_file():
        load_weights(network.network, weights, optional=("head", "classifier", "fc"))
    return Backbone(network.train(), spec.taps, tuple(maps[tap].shape[1] for tap in spec.taps))


def _create_timm(name: str, side: int, weights: str | None) -> _Levels:
    """Create a network of timm whose maps are returned, for images of any side where the network allows that."""
    timm = _import_timm()
    published = weights if weights is not None and not Path(weights).is_file() else None
    full_name = name if published in (None, "default") else f"{name}.{published}"
    network = None
    for options in ({"dynamic_img_size": True}, {"strict_img_size": False}, {}):
        try:
            network = timm.create_model(full_name, features_only=True, pretrained=published is not None, **options)
            break
        except TypeError:  # the network has no such option
            continue
        except (RuntimeError, AttributeError) as error:
            raise UserError(f"timm:{name} has no feature maps: {error}") from None
        except OSError as error:
            raise UserError(
                f"model.weights={weights}: timm cannot download them ({error}); download the file on another machine, "
                "and name it: model.weights=FILE"
            ) from None
    if network is None:
        raise UserError(f"timm:{name} cannot be created with feature maps")
    settings = timm.get_pretrained_cfg(full_name)
    mean, std = (settings.mean, settings.std) if settings is not None else (_MEAN, _STD)
    taps = [str(level).replace(".", "_") for level in network.feature_info.module_name()]
    channels_last = str(getattr(network, "output_fmt", "")).endswith("NHWC")
    return _Levels(network, taps, channels_last, mean, std)


def _create_torchvision(name: str, weights: str | None) -> _Levels:
    """Create a network of torchvision without its classifier."""
    published = weights if weights is not None and not Path(weights).is_file() else None
    try:
        network: Any = torchvision.models.get_model(name, weights=published)
    except OSError as error:
        raise UserError(
            f"model.weights={weights}: torchvision cannot download them ({error}); download the file on another "
            "machine, and name it: model.weights=FILE"
        ) from None
    if isinstance(network, torchvision.models.VisionTransformer):
        return _Levels(_TokenMap(network), ["encoder"])
    nodes = _last_maps(network)
    return _Levels(create_feature_extractor(network, nodes), [node.replace(".", "_") for node in nodes])


def _last_maps(network: nn.Module) -> list[str]:
    """Return the names of the last module that makes maps of each size, from large maps to small ones.

    Raises:
        UserError: the network makes no maps.
    """
    by_size: dict[tuple[int, ...], str] = {}

    def _note(name: str, output: Any) -> None:
        is_map = isinstance(output, Tensor) and output.dim() == 4 and output.shape[2] == output.shape[3]
        if is_map and 1 < output.shape[2] < _PROBES[-1]:
            size = tuple(output.shape[2:])
            by_size.pop(size, None)
            by_size[size] = name

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: _note(name, output))
        for name, module in network.named_modules()
        if name
    ]
    training = network.training
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, _PROBES[-1], _PROBES[-1]))
    network.train(training)
    for hook in hooks:
        hook.remove()
    if not by_size:
        raise UserError("the network makes no maps; name another one")
    return list(by_size.values())[-_LARGEST:]


def _probe(
    create: Callable[[int], _Levels], name: str, sides: Sequence[int] = _PROBES
) -> tuple[_Levels, dict[str, Tensor]]:
    """Return a network, and its maps of an image of the first side that it takes.

    Raises:
        UserError: it takes none, or returns no maps.
    """
    error: Exception | None = None
    for side in sides:
        network = create(side).eval()
        try:
            with torch.no_grad():
                maps = network(torch.zeros(2, 3, side, side))
        except (RuntimeError, AssertionError, ValueError) as raised:
            error = raised
            continue
        if all(level.dim() == 4 and math.prod(level.shape) > 0 for level in maps.values()):
            return network, maps
        error = ValueError(f"its outputs have the shapes {[tuple(level.shape) for level in maps.values()]}")
    raise UserError(f"model.backbone={name} returns no maps (B, C, h, w): {error}")


def _is_of(tag: str, name: str) -> bool:
    return tag == name or tag.startswith(f"{name}.")


def _import_timm() -> Any:
    try:
        import timm
    except ImportError:
        raise UserError("model.backbone=timm:... needs timm; install it: pip install 'raysearch[timm]'") from None
    return timm
