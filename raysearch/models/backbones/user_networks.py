"""A user's network as a backbone: a callable that returns a module from images to a map, or to a dict of maps."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raysearch.core import UserError, type_of, user_code
from raysearch.models.backbone_specs import BackboneSpec
from raysearch.models.backbones.backbone import Backbone, load_weights

_PROBES = 64, 224  # sides of the images that a network is tried with, in pixels
_MAP = "map"  # the tap of a network that returns one map


class _NamedMaps(nn.Module):
    """A user's network with named maps.

    Args:
        network: images (B, 3, H, W) to a map (B, C, h, w), or to a dict of maps.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps of images by tap."""
        maps = self.network(images)
        return dict(maps) if isinstance(maps, Mapping) else {_MAP: maps}


def spec_of_code(code: user_code.UserCode) -> BackboneSpec:
    """Return the spec of a user's backbone. Its network is made once, to learn the names of its maps.

    Raises:
        UserError: code that does not run, or a network that returns no maps.
    """
    with torch.random.fork_rng(devices=[]):
        maps = _maps_of(_create(code), code.reference)
    return BackboneSpec(code.reference, tuple(maps), lambda spec, weights: _build(spec, code, weights), code=code)


def _build(spec: BackboneSpec, code: user_code.UserCode, weights: str | None) -> Backbone:
    network = _create(code)
    if weights is not None:
        if not Path(weights).is_file():
            raise UserError(f"model.weights: no file '{weights}'")
        load_weights(network, weights)
    maps = _maps_of(network, code.reference)
    return Backbone(_NamedMaps(network), spec.taps, tuple(maps[tap].shape[1] for tap in spec.taps))


def _create(code: user_code.UserCode) -> nn.Module:
    build: Callable[[], Any] = user_code.load(code)
    try:
        network = build()
    except Exception as error:
        raise UserError(_describe(code.reference, error)) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"model.backbone={code.reference} returned {type_of(network)}, not a torch.nn.Module")
    return network


def _maps_of(network: nn.Module, reference: str) -> dict[str, Tensor]:
    """Return the maps of a blank image: a small one if the network takes it."""
    training = network.training
    error: Exception | None = None
    for side in _PROBES:
        try:
            with torch.no_grad():
                maps = _NamedMaps(network.eval())(torch.zeros(2, 3, side, side))
        except Exception as raised:
            error = raised
            continue
        finally:
            network.train(training)
        for tap, level in maps.items():
            if not isinstance(level, Tensor) or level.dim() != 4 or len(level) != 2:
                shape = tuple(level.shape) if isinstance(level, Tensor) else type(level).__name__
                raise UserError(f"model.backbone={reference} returned {shape} as '{tap}', not a map (B, C, h, w)")
        return maps
    assert error is not None
    raise UserError(_describe(reference, error)) from error


def _describe(reference: str, error: Exception) -> str:
    place = user_code.describe_place(error)
    text = f"model.backbone={reference}: {type(error).__name__}: {' '.join(str(error).split())}"
    return text + (f" ({place})" if place else "")
