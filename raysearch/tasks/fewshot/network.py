"""The network of a few-shot run with its head, and its optimizer.

The network is the backbone, the compared taps, the head, and a classifier for the auxiliary losses. The optimizer is
HelixFormer's Adam (arXiv 2207.00784) or LWFM-SPM's SGD (arXiv 2411.06363). `configs.fewshot_methods` names the builders
of heads, `build(config, backbone) -> head`. A head from a file outside the package is registered by
`raysearch.extend.fewshot_head`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from raysearch.core import UserError
from raysearch.models import backbones, fewshot, fewshot_heads, lwfm, relation, renormalization
from raysearch.models.backbones import Backbone
from raysearch.models.helixformer import HelixFormer
from raysearch.studies.configs import FewshotConfig, load_object
from raysearch.studies.configs.fewshot_sections import EpisodicTrainConfig
from raysearch.tasks.common import step_decay


def build_network(
    config: FewshotConfig, seed: int, classes: int, start: Mapping[str, Tensor] | None = None
) -> fewshot.EpisodicNetwork:
    """Build the network of a config, with parameters drawn from the seed.

    Args:
        config: the config of the run.
        seed: the same one gives the same backbone with every method.
        classes: number of base classes, for the auxiliary losses.
        start: state of a pre-trained backbone.

    Raises:
        UserError: weights that do not fit, or maps that are too small for the head.
    """
    method = config.fewshot_method
    torch.manual_seed(seed)
    backbone = backbones.build(config.model.backbone, config.model.weights)
    if start is not None:
        backbone.load_state_dict(start)
    torch.manual_seed(seed + 1)  # the head is the same whatever the backbone drew
    taps = [backbone.taps[index] for index in method.tap_indices(config)]
    head = load_object(method.build)(config, backbone)
    classes = classes if config.auxiliary else 0
    released = "lwfm" in method.sections and config.lwfm.normalization == "released"
    renormalize = renormalization.Renormalization(*renormalization.LWFM) if released else None
    network = fewshot.EpisodicNetwork(backbone, taps, head, method.grid(config), classes, renormalize)
    _exclude_unreached(network, config.data.side)
    if config.model.frozen:
        network.backbone.requires_grad_(False)  # training then sees only its maps, made in evaluation mode
    return network


def build_optimizer(network: nn.Module, config: EpisodicTrainConfig) -> Optimizer | None:
    """Build the optimizer of a network's trained parameters; None where none are trained."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained or not config.epochs:
        return None
    fused = True if trained[0].device.type == "cuda" else None  # one kernel for all weights
    if config.optimiser == "adam":
        return Adam(trained, lr=config.lr, weight_decay=config.weight_decay, fused=fused)
    nesterov = config.momentum > 0
    return SGD(trained, config.lr, config.momentum, weight_decay=config.weight_decay, nesterov=nesterov, fused=fused)


def set_rate(optimizer: Optimizer, config: EpisodicTrainConfig, epoch: int) -> float:
    """Set the learning rate of an epoch, counted from 0, and return it."""
    rate = step_decay(config.lr, config.decay, config.milestones, config.epochs, epoch)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def _exclude_unreached(network: fewshot.EpisodicNetwork, side: int) -> None:
    """Leave the layers after the deepest tap untrained: several workers wait for the gradient of everything trained."""
    training = network.training
    maps = network.eval().maps(torch.zeros(1, 3, side, side))
    network.train(training)
    parameters = list(network.backbone.parameters())
    total = torch.stack([tap.sum() for tap in maps]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


class MapShape(NamedTuple):
    """The shape of one tap's maps."""

    channels: int
    height: int
    width: int


def map_shapes(backbone: Backbone, side: int, taps: Sequence[int]) -> list[MapShape]:
    """Return the shapes of a backbone's maps.

    Args:
        backbone: makes the maps.
        side: the side of the images, in pixels.
        taps: indices of the taps.
    """
    training = backbone.training
    with torch.no_grad():
        maps = backbone.eval()(torch.zeros(1, 3, side, side))
    backbone.train(training)
    return [MapShape(*maps[backbone.taps[index]].shape[1:]) for index in taps]


def build_centroid(config: FewshotConfig, backbone: Backbone) -> nn.Module:
    """Build the nearest-centroid head."""
    return fewshot_heads.CentroidHead(config.centroid.distance)


def build_relation(config: FewshotConfig, backbone: Backbone) -> nn.Module:
    """Build the relation head on features without cross-attention."""
    return fewshot_heads.RelationNet(_pair_head(config, backbone.channels, backbone))


def build_helixformer(config: FewshotConfig, backbone: Backbone) -> nn.Module:
    """Build HelixFormer and its relation head."""
    helix = _helixformer(config, backbone)
    head = _pair_head(config, _helix_width(config, backbone), backbone)
    return fewshot_heads.HelixHead(helix, head, pairs=config.helix.pairs)


def build_lwfm(config: FewshotConfig, backbone: Backbone) -> nn.Module:
    """Build LWFM-SPM."""
    widths = [backbone.widths[index] for index in config.fewshot_method.tap_indices(config)]
    return fewshot_heads.LwfmHead(lwfm.LayerwiseMatching(widths, **_metric_options(config)))


def build_helix_lwfm(config: FewshotConfig, backbone: Backbone) -> nn.Module:
    """Build HelixFormer under LWFM-SPM's metric."""
    helix = _helixformer(config, backbone)
    metric = lwfm.PairMatching([_helix_width(config, backbone)], **_metric_options(config))
    return fewshot_heads.HelixLwfmHead(helix, metric, config.lwe.grid)


def _helixformer(config: FewshotConfig, backbone: Backbone) -> HelixFormer:
    helix = config.helix
    return HelixFormer(
        backbone.channels,
        helix.depth,
        helix.heads,
        helix.dim_head,
        helix.design,
        helix.fusion,
        helix.rep,
        rmp=helix.rmp,
        width=_helix_width(config, backbone),
        embed_kernel=helix.embed_kernel,
        kv_stride=helix.kv_stride,
        mlp_ratio=helix.mlp_ratio,
        dropout=helix.dropout,
        order=helix.order,
    )


def _helix_width(config: FewshotConfig, backbone: Backbone) -> int:
    return config.helix.width or backbone.channels


def _pair_head(config: FewshotConfig, channels: int, backbone: Backbone) -> nn.Module:
    """Build what scores pairs of maps of the last tap's size."""
    if config.head.kind == "cosine":
        return relation.CosineHead()
    side = config.data.side
    (shape,) = map_shapes(backbone, side, [-1])
    try:
        return relation.RelationHead(channels, shape.width)
    except ValueError as error:
        raise UserError(
            f"head.kind=relation on {config.model.backbone} at {side} px: {error}; head.kind=cosine takes any"
        ) from None


def _metric_options(config: FewshotConfig) -> dict[str, Any]:
    """Return the options of LWFM-SPM's metric under the names of its arguments."""
    lwe = config.lwe
    spm = config.spm
    return {
        "temperature": lwe.temperature,
        "lwe": lwe.on,
        "matcher": spm.matcher,
        "reduce": spm.reduce,
        "k": spm.topk,
        "layers": spm.layers,
        "weight": spm.weight,
        "tau": config.lwfm.tau,
        "residual": spm.residual,
        "sinkhorn_eps": spm.sinkhorn_eps,
        "sinkhorn_iterations": spm.sinkhorn_iterations,
    }
