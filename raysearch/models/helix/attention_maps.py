"""The attention maps between one support and one query, which HelixFormer itself never builds."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from raysearch.models.helix.designs import Layer
from raysearch.models.helix.direction import SideName
from raysearch.models.helixformer import HelixFormer
from raysearch.models.precision import at_least_single


@torch.no_grad()
def attention_maps(helix: HelixFormer, support: Tensor, query: Tensor, layer: int = 0) -> dict[SideName, Tensor]:
    """Compute the attention of each updated side of a pair at a layer.

    Args:
        helix: in eval mode.
        support: (C,H,W).
        query: (C,H,W).
        layer: from 0.

    Returns:
        For "support", "query" or both, depending on the design: (heads, H, W, h, w), the weights that the position
        (H, W) of that side gives to the positions (h, w) of the other, after the stride of keys and values. They sum
        to one over h and w.

    Raises:
        ValueError: training mode, or a layer that does not exist.

    >>> helix = HelixFormer(8, heads=2).eval()
    >>> maps = attention_maps(helix, torch.randn(8, 4, 4), torch.randn(8, 4, 4))
    >>> {side: tuple(weights.shape) for side, weights in maps.items()}
    {'support': (2, 4, 4, 4, 4), 'query': (2, 4, 4, 4, 4)}
    """
    if helix.training:
        raise ValueError("attention maps need eval mode: a single pair would change batch norm's statistics")
    if not 0 <= layer < len(helix.layers):
        raise ValueError(f"layer: from 0 to less than {len(helix.layers)}, got {layer}")
    module = helix.layers[layer]
    assert isinstance(module, Layer)
    minings = {side: direction.mining for side, direction in module.directions().items()}
    operands: dict[SideName, tuple[Tensor, Tensor]] = {}
    hooks = [mining.register_forward_pre_hook(partial(_record, operands, side)) for side, mining in minings.items()]
    try:
        helix.pairs(support[None], query[None])
    finally:
        for hook in hooks:
            hook.remove()
    return {side: _attention(*operands[side], mining.heads) for side, mining in minings.items()}


def _record(operands: dict[SideName, Any], side: SideName, _: nn.Module, inputs: Any) -> None:
    operands[side] = inputs


def _attention(attn_q: Tensor, attn_kv: Tensor, heads: int) -> Tensor:
    """Return the attention (heads,H,W,h,w) of attn_q (1,1,1,H,W,I) to attn_kv (1,1,1,h,w,2I)."""
    keys, _ = attn_kv.chunk(2, -1)
    rows, columns = (at_least_single(operand[0, 0, 0]).unflatten(-1, (heads, -1)) for operand in (attn_q, keys))
    scores = torch.einsum("HWad,hwad->aHWhw", rows, columns) / math.sqrt(rows.shape[-1])
    return scores.flatten(3).softmax(-1).view_as(scores)
