"""A backbone: feature maps of images at named taps, its weights, and a cut before its last stage."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from raysearch.core import UserError
from raysearch.models.backbone_specs import BACKBONES, BackboneSpec, check_weights


class Backbone(nn.Module):
    """`backbone(images (B,3,H,W)) -> {tap: (B,C,h,w)}`, taps from shallow to deep.

    Args:
        network: computes the maps.
        taps: the names of the maps.
        widths: C of each tap.
        split_tap: where `split` cuts; None: at the second last tap.
    """

    def __init__(
        self, network: nn.Module, taps: tuple[str, ...], widths: tuple[int, ...], split_tap: str | None = None
    ) -> None:
        super().__init__()
        assert len(taps) == len(widths)
        self.body = network  # the name in checkpoints
        self.taps = taps
        self.widths = widths
        self._split_tap = split_tap

    @property
    def network(self) -> nn.Module:
        """The module that computes the maps."""
        return self.body

    @property
    def channels(self) -> int:
        """C of the last tap."""
        return self.widths[-1]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps of images (B,3,H,W) by tap: name -> (B,C,H',W')."""
        return self.network(images)

    def split(self) -> tuple[nn.Module, nn.Module]:
        """Cut before the last stage, at the tap E: `stem(images) -> E` and `last_stage(E) -> last tap`.

        Both share their modules with the backbone. `copy.deepcopy` makes a stage with weights of its own.

        >>> backbone, images = build("small").eval(), torch.zeros(2, 3, 64, 64)
        >>> stem, last_stage = backbone.split()
        >>> torch.equal(last_stage(stem(images)), backbone(images)["block4"])
        True
        """
        graph = self.network.graph if isinstance(self.network, fx.GraphModule) else fx.Tracer().trace(self.network)
        images, *_, output = graph.nodes
        (maps,) = output.args
        features = maps[self._split_tap or self.taps[-2]]
        last = maps[self.taps[-1]]
        return _part(self.network, graph, images, features), _part(self.network, graph, features, last)


def build(name: str, weights: str | None = None) -> Backbone:
    """Build a backbone.

    Args:
        name: a name of `BACKBONES`, for example "small" or "resnet50".
        weights: None for random ones, a state-dict file (of the whole network or of its convolutions), or the name of
            published weights, for example "IMAGENET1K_V1". torchvision may have to download those.

    Raises:
        UserError: unknown name or weights, or a file that does not fit the network.

    >>> images = torch.zeros(2, 3, 64, 64)
    >>> [tuple(map.shape) for map in build("small")(images).values()][-1]
    (2, 128, 8, 8)
    """
    spec = BACKBONES[name]
    check_weights(name, weights)
    return spec.build(weights)


def weight_bytes(name: str) -> int | None:
    """Return the bytes of a backbone's weights and buffers, without making them; None if that is not known.

    Args:
        name: a name of `BACKBONES`.

    >>> weight_bytes("small")
    657088
    """
    try:
        with torch.device("meta"):
            network = BACKBONES[name].build(None)
    except Exception:  # a network of a user that computes with its weights when it is made
        return None
    return sum(tensor.nbytes for tensor in network.state_dict().values())


def build_from_module(
    spec: BackboneSpec, network: nn.Module, weights: str | None, optional: tuple[str, ...] = ()
) -> Backbone:
    """Make a backbone of a module whose widths are not known yet.

    Args:
        spec: the spec of the backbone.
        network: images (B, 3, H, W) to {tap: (B, C, h, w)}.
        weights: None to leave the network's as they are, or a state-dict file of the network.
        optional: see `load_weights`.

    Raises:
        UserError: a file that does not fit the network, or maps other than the taps of the spec.
    """
    if weights is not None:
        load_weights(network, weights, optional)
    training = network.training
    with torch.no_grad():
        maps = network.eval()(torch.zeros(1, 3, 64, 64))
    if not isinstance(maps, dict) or any(tap not in maps for tap in spec.taps):
        returned = ", ".join(maps) if isinstance(maps, dict) else type(maps).__name__
        raise UserError(
            f"backbone '{spec.name}': its taps are {', '.join(spec.taps)}, but the network returns {returned}; "
            "return a dict with a map for each tap"
        )
    widths = tuple(maps[tap].shape[1] for tap in spec.taps)
    return Backbone(network.train(training), spec.taps, widths, spec.split_tap)


def load_weights(network: nn.Module, path: str, optional: tuple[str, ...] = ()) -> None:
    """Load a state-dict file into a network.

    Args:
        network: takes the weights.
        path: the path of the file.
        optional: prefixes of parameters that the file may lack, for example a classifier's.

    Raises:
        UserError: not a state dict, or a tensor that is missing, unknown or of another shape.
    """
    try:
        outcome = network.load_state_dict(_read_state(path), strict=False)
    except RuntimeError as error:
        raise UserError(f"model.weights: '{path}' does not fit: {str(error).splitlines()[-1].strip()}") from None
    missing = [key for key in outcome.missing_keys if not optional or not key.startswith(optional)]
    wrong = missing + outcome.unexpected_keys
    if wrong:
        raise UserError(f"model.weights: '{path}' does not fit the network, first at '{wrong[0]}'")


def _read_state(path: str) -> dict[str, Any]:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises several kinds for a file that is not a state dict
        raise UserError(f"model.weights: '{path}' is not a state-dict file ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise UserError(f"model.weights: '{path}' is not a state-dict file ({type(state).__name__})")
    return state


def _part(network: nn.Module, whole: fx.Graph, start: fx.Node, end: fx.Node) -> fx.GraphModule:
    """Return a module that computes `end` from `start` alone, with the modules of `network`."""
    graph = fx.Graph()
    copies = {start: graph.placeholder("features")}
    graph.graph_copy(whole, copies)
    graph.output(copies[end])
    part = fx.GraphModule(network, graph)
    part.graph.eliminate_dead_code()
    for node in part.graph.find_nodes(op="placeholder")[1:]:  # the images, which are no longer used
        part.graph.erase_node(node)
    part.delete_all_unused_submodules()
    part.recompile()
    return part
