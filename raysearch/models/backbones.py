"""Networks that turn images into feature maps, with named taps; torchvision's where torchvision has them.

`small` is for laptops: four convolutions with batch norm, stride 8, about 12 million multiply-adds at 64 px. `conv4`
and `resnet12` are the networks of few-shot recognition.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import create_feature_extractor

from raysearch.core.errors import UserError, nearest
from raysearch.models.bodies import Blocks, Conv4Body, ResNet12Body, SmallBody

# torchvision's node names of the taps, from shallow to deep. ResNet-18 has the nine levels that LWFM-SPM (arXiv
# 2411.06363) compares: the pooled stem and each of the eight blocks.
_TORCHVISION_TAPS = {
    "resnet18": ("maxpool", *(f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2))),
    "resnet50": ("layer1", "layer2", "layer3", "layer4"),
    "squeezenet1_1": ("features.4", "features.7", "features.12"),
    "mobilenet_v2": ("features.3", "features.6", "features.13", "features.18"),
}

# Taps at which `Backbone.split` cuts where it is not the second last: the end of the second last stage
_CUTS = {"resnet18": "layer3.1"}

_OWN_BODIES: dict[str, Callable[[], Blocks]] = {"small": SmallBody, "conv4": Conv4Body, "resnet12": ResNet12Body}

# Made by `python -m raysearch.tasks.pretraining.make_weights`
_OWN_WEIGHTS = {"small": {"DRAWN_BIRDS_V1": Path(__file__).parent / "weights" / "small_drawn_birds_v1.pt"}}


class Backbone(nn.Module):
    """A network of feature maps: `backbone(images (B,3,H,W)) -> {tap: (B,C,h,w)}`, taps from shallow to deep.

    Args:
        body: what computes the maps.
        taps: their names.
        widths: C of each tap.
        cut: the tap at which `split` cuts; None: the second last.
    """

    def __init__(self, body: nn.Module, taps: tuple[str, ...], widths: tuple[int, ...], cut: str | None = None) -> None:
        super().__init__()
        assert len(taps) == len(widths)
        self.body = body
        self.taps = taps
        self.widths = widths
        self._cut = cut

    @property
    def channels(self) -> int:
        """C of the last tap."""
        return self.widths[-1]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.body(images)

    def split(self) -> tuple[nn.Module, nn.Module]:
        """Cut before the last stage, at the tap E: `stem(images) -> E` and `last_stage(E) -> last tap`.

        Both share their modules with the backbone; `copy.deepcopy` makes a stage with weights of its own.

        >>> backbone, images = build("small").eval(), torch.zeros(2, 3, 64, 64)
        >>> stem, last_stage = backbone.split()
        >>> torch.equal(last_stage(stem(images)), backbone(images)["block4"])
        True
        """
        graph = self.body.graph if isinstance(self.body, fx.GraphModule) else fx.Tracer().trace(self.body)
        images, *_, output = graph.nodes
        (maps,) = output.args
        before, last = maps[self._cut or self.taps[-2]], maps[self.taps[-1]]
        return _part(self.body, graph, images, before), _part(self.body, graph, before, last)


def build(name: str, weights: str | None = None) -> Backbone:
    """Make a backbone.

    Args:
        name: "small", "conv4", "resnet12", "resnet18", "resnet50", "squeezenet1_1" or "mobilenet_v2".
        weights: None for random ones, a state-dict file (of the whole network or of its convolutions), or the name of
            torchvision weights such as "IMAGENET1K_V1", which torchvision may have to download.

    Raises:
        UserError: unknown name or weights, or a file that does not fit the network.

    >>> images = torch.zeros(2, 3, 64, 64)
    >>> [tuple(map.shape) for map in build("small")(images).values()][-1]
    (2, 128, 8, 8)
    """
    if name not in BACKBONES:
        raise UserError(f"unknown backbone '{name}'{nearest(name, BACKBONES)}")
    check_weights(name, weights)
    return BACKBONES[name](name, weights)


def check_weights(name: str, weights: str | None) -> None:
    """Raise a UserError for weights that `build` could not find, without building."""
    if weights is None or Path(weights).is_file():
        return
    if name in _OWN_BODIES:
        known = list(_OWN_WEIGHTS.get(name, ()))
    else:
        known = [member.name for member in torchvision.models.get_model_weights(name)]
    if weights not in known:
        raise UserError(f"model.weights: no file and no weights of {name} '{weights}'{nearest(weights, known)}")


def _part(body: nn.Module, whole: fx.Graph, start: fx.Node, end: fx.Node) -> fx.GraphModule:
    """What computes `end` from `start` alone, with the modules of `body`."""
    graph = fx.Graph()
    copies = {start: graph.placeholder("features")}
    graph.graph_copy(whole, copies)
    graph.output(copies[end])
    part = fx.GraphModule(body, graph)
    part.graph.eliminate_dead_code()
    for node in part.graph.find_nodes(op="placeholder")[1:]:  # the images, which nothing asks for any more
        part.graph.erase_node(node)
    part.delete_all_unused_submodules()
    part.recompile()
    return part


def _own(name: str, weights: str | None) -> Backbone:
    body = _OWN_BODIES[name]()
    if weights is not None:
        path = str(_OWN_WEIGHTS.get(name, {}).get(weights, weights))
        _load(body, _read(path), path, optional=())
    return Backbone(body, tuple(child for child, _ in body.named_children()), body.widths)


def _torchvision(name: str, weights: str | None) -> Backbone:
    taps = _TORCHVISION_TAPS[name]
    if weights is None or Path(weights).is_file():
        network = torchvision.models.get_model(name, weights=None)
        if weights is not None:
            _load(network, _read(weights), weights, optional=("classifier.", "fc."))
    else:
        network = torchvision.models.get_model(name, weights=weights)
    body = create_feature_extractor(network, list(taps))
    training = body.training
    with torch.no_grad():
        maps = body.eval()(torch.zeros(1, 3, 64, 64))
    widths = tuple(maps[tap].shape[1] for tap in taps)
    return Backbone(body.train(training), taps, widths, _CUTS.get(name))


def _read(path: str) -> dict[str, Tensor]:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises several kinds for a file that is no state dict
        raise UserError(f"model.weights: '{path}' is not a state-dict file ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise UserError(f"model.weights: '{path}' is not a state-dict file ({type(state).__name__})")
    return state


def _load(network: nn.Module, state: dict[str, Any], path: str, optional: tuple[str, ...]) -> None:
    """Load all but the classifier; anything else that is missing, unknown or of another shape is an error."""
    try:
        outcome = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(f"model.weights: '{path}' does not fit: {str(error).splitlines()[-1].strip()}") from None
    missing = (
        [key for key in outcome.missing_keys if not key.startswith(optional)] if optional else outcome.missing_keys
    )
    wrong = missing + outcome.unexpected_keys
    if wrong:
        raise UserError(f"model.weights: '{path}' does not fit the network, first at '{wrong[0]}'")


BACKBONES: dict[str, Callable[[str, str | None], Backbone]] = {
    **dict.fromkeys(_OWN_BODIES, _own),
    **dict.fromkeys(_TORCHVISION_TAPS, _torchvision),
}
