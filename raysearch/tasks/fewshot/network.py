"""The network of a few-shot run."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from raysearch.core.errors import UserError
from raysearch.models import backbones
from raysearch.models.fewshot import EpisodicNetwork
from raysearch.models.fewshot_heads import CentroidHead, HelixHead, HelixLwfmHead, LwfmHead, RelationNet
from raysearch.models.helixformer import HelixFormer
from raysearch.models.lwfm import LayerwiseMatching, PairMatching
from raysearch.models.relation import CosineHead, RelationHead
from raysearch.studies.configs import FewshotConfig


def build_network(
    config: FewshotConfig, seed: int, classes: int, start: Mapping[str, Tensor] | None = None
) -> EpisodicNetwork:
    """The network of a config, its parameters drawn from the seed.

    Args:
        config: of the run.
        seed: the same trunk for every method.
        classes: base classes, for the auxiliary losses.
        start: state of a pre-trained trunk.
    """
    torch.manual_seed(seed)
    trunk = backbones.build(config.model.backbone, config.model.weights)
    if start is not None:
        trunk.load_state_dict(start)
    torch.manual_seed(seed + 1)  # what comes after the trunk is the same whatever the trunk drew
    taps = [trunk.taps[index] for index in config.lwe.layers] if config.model.method == "lwfm" else [trunk.taps[-1]]
    grid = config.lwe.grid if config.model.method == "lwfm" else None
    widths = dict(zip(trunk.taps, trunk.widths, strict=True))
    comparer = _comparer(config, trunk, [widths[tap] for tap in taps])
    network = EpisodicNetwork(trunk, taps, comparer, grid, classes if config.auxiliary else 0)
    _exclude_unreached(network, config.data.side)
    if config.model.frozen:
        network.backbone.requires_grad_(False)  # and training sees its maps alone, made in evaluation mode
    return network


def _exclude_unreached(network: EpisodicNetwork, side: int) -> None:
    """Leave what lies behind the deepest tap untrained: several workers wait for a gradient of all that is trained."""
    mode = network.training
    maps = network.eval().maps(torch.zeros(1, 3, side, side))
    network.train(mode)
    learned = list(network.backbone.parameters())
    gradients = torch.autograd.grad(torch.stack([one.sum() for one in maps]).sum(), learned, allow_unused=True)
    for parameter, gradient in zip(learned, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def _comparer(config: FewshotConfig, trunk: backbones.Backbone, widths: list[int]) -> nn.Module:
    method = config.model.method
    if method == "centroid":
        return CentroidHead(config.centroid.distance)
    if method == "relation":
        return RelationNet(_head(config, trunk.channels, trunk))
    if method == "lwfm":
        return LwfmHead(LayerwiseMatching(widths, **_matching(config)))
    helix = config.helix
    width = helix.width or trunk.channels
    attending = HelixFormer(
        trunk.channels,
        helix.depth,
        helix.heads,
        helix.dim_head,
        helix.design,
        helix.fusion,
        helix.rep,
        rmp=helix.rmp,
        width=width,
        embed_kernel=helix.embed_kernel,
        kv_stride=helix.kv_stride,
        mlp_ratio=helix.mlp_ratio,
        dropout=helix.dropout,
    )
    if method == "helixformer":
        return HelixHead(attending, _head(config, width, trunk))
    return HelixLwfmHead(attending, PairMatching([width], **_matching(config)), config.lwe.grid)


def _head(config: FewshotConfig, channels: int, trunk: backbones.Backbone) -> nn.Module:
    if config.head.kind == "cosine":
        return CosineHead()
    with torch.no_grad():
        mode = trunk.training
        size = trunk.eval()(torch.zeros(1, 3, config.data.side, config.data.side))[trunk.taps[-1]].shape[-1]
        trunk.train(mode)
    try:
        return RelationHead(channels, size)
    except ValueError as error:
        name = config.model.backbone
        raise UserError(
            f"head.kind=relation on {name} at {config.data.side} px: {error}; head.kind=cosine takes any"
        ) from None


def _matching(config: FewshotConfig) -> dict[str, Any]:
    """LWFM-SPM's options as its modules take them."""
    lwe, spm = config.lwe, config.spm
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
