"""Builders of the few-shot heads: `build(config, backbone) -> head`; `configs.fewshot_methods` names them.

A head from a file outside the package is registered by `raysearch.extend.fewshot_head`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from raysearch.core import UserError
from raysearch.models.backbones import Backbone
from raysearch.models.fewshot_heads import CentroidHead, HelixHead, HelixLwfmHead, LwfmHead, RelationNet
from raysearch.models.helixformer import HelixFormer
from raysearch.models.lwfm import LayerwiseMatching, PairMatching
from raysearch.models.relation import CosineHead, RelationHead
from raysearch.studies.configs import FewshotConfig


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
    return CentroidHead(config.centroid.distance)


def build_relation(config: FewshotConfig, backbone: Backbone) -> nn.Module:
    """Build the relation head on features without cross-attention."""
    return RelationNet(_pair_head(config, backbone.channels, backbone))


def build_helixformer(config: FewshotConfig, backbone: Backbone) -> nn.Module:
    """Build HelixFormer and its relation head."""
    helix = _helixformer(config, backbone)
    return HelixHead(helix, _pair_head(config, _helix_width(config, backbone), backbone))


def build_lwfm(config: FewshotConfig, backbone: Backbone) -> nn.Module:
    """Build LWFM-SPM."""
    widths = [backbone.widths[index] for index in config.fewshot_method.tap_indices(config)]
    return LwfmHead(LayerwiseMatching(widths, **_metric_options(config)))


def build_helix_lwfm(config: FewshotConfig, backbone: Backbone) -> nn.Module:
    """Build HelixFormer under LWFM-SPM's metric."""
    helix = _helixformer(config, backbone)
    metric = PairMatching([_helix_width(config, backbone)], **_metric_options(config))
    return HelixLwfmHead(helix, metric, config.lwe.grid)


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
    )


def _helix_width(config: FewshotConfig, backbone: Backbone) -> int:
    return config.helix.width or backbone.channels


def _pair_head(config: FewshotConfig, channels: int, backbone: Backbone) -> nn.Module:
    """Build what scores pairs of maps of the last tap's size."""
    if config.head.kind == "cosine":
        return CosineHead()
    side = config.data.side
    (shape,) = map_shapes(backbone, side, [-1])
    try:
        return RelationHead(channels, shape.width)
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
