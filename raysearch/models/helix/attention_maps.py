"""What looks at what between one support and one query: the attention maps that HelixFormer never lays out."""

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
    """The attention of each updated side of a pair at a layer.

    Args:
        helix: in eval mode.
        support: (C,H,W).
        query: (C,H,W).
        layer: from 0.

    Returns:
        For "support", "query" or both, as the design has it: (heads, H, W, h, w), where the position (H, W) of that
        side looks in the other, `h x w` its positions after the stride of keys and values. Sums over h and w are one.

    Raises:
        ValueError: training mode, or a layer that there is not.

    >>> helix = HelixFormer(8, heads=2).eval()
    >>> maps = attention_maps(helix, torch.randn(8, 4, 4), torch.randn(8, 4, 4))
    >>> {side: tuple(looks.shape) for side, looks in maps.items()}
    {'support': (2, 4, 4, 4, 4), 'query': (2, 4, 4, 4, 4)}
    """
    if helix.training:
        raise ValueError("attention is looked at in eval mode; a pair alone would change what batch norm remembers")
    if not 0 <= layer < len(helix.layers):
        raise ValueError(f"layer: from 0 to less than {len(helix.layers)}, got {layer}")
    asked = helix.layers[layer]
    assert isinstance(asked, Layer)
    minings = {side: direction.mining for side, direction in asked.directions().items()}
    operands: dict[SideName, tuple[Tensor, Tensor]] = {}
    hooks = [mining.register_forward_pre_hook(partial(_keep, operands, side)) for side, mining in minings.items()]
    try:
        helix.pairs(support[None], query[None])
    finally:
        for hook in hooks:
            hook.remove()
    return {side: _attention(*operands[side], mining.heads) for side, mining in minings.items()}


def _keep(operands: dict[SideName, Any], side: SideName, _: nn.Module, given: Any) -> None:
    operands[side] = given


def _attention(questions: Tensor, answers: Tensor, heads: int) -> Tensor:
    """Questions (1,1,1,H,W,I) and answers (1,1,1,h,w,2I) to (heads,H,W,h,w)."""
    keys, _ = answers.chunk(2, -1)
    rows, columns = (at_least_single(each[0, 0, 0]).unflatten(-1, (heads, -1)) for each in (questions, keys))
    scores = torch.einsum("HWad,hwad->aHWhw", rows, columns) / math.sqrt(rows.shape[-1])
    return scores.flatten(3).softmax(-1).view_as(scores)
