"""Relation mining process (RMP) of HelixFormer, arXiv 2207.00784: cross-attention from one image to the other.

Every position of the target has a query e, and every position of the source has a key k and a value v. The attention's
output, mapped back to C channels, is the cross-image semantic relation map (CSRM) of the target:

    CSRM = W softmax(e k^T / sqrt(d)) v      for each head

Queries, keys and values come from depth-wise separable projections. "Query" also means an image to be classified here,
so the queries of attention are called `attn_q`, its keys and values `attn_kv`.

Whatever depends on one image alone is computed once per image, and no key, value or attention map is copied for each
pair. Softmax works on rows, so the attention queries of all pairs with the same source are rows of one attention.

Legend: `E` episodes, `Q` queries, `S` supports, `H x W` positions, `h x w` positions after the stride of keys and
values, `C` channels, `I` = heads x dimensions of a head. A dimension of pairs that a tensor does not depend on is 1.
"""

import torch
from torch import Tensor, nn

from raysearch.models.helix.layers import Pointwise, RepeatedBatchNorm2d


class Projection(nn.Module):
    """Depth-wise 3 x 3 convolution, batch norm, 1 x 1 convolution: (E,Q,S,H,W,C) -> (E,Q,S,h,w,outputs)."""

    def __init__(self, channels: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        self.norm = RepeatedBatchNorm2d(channels)
        self.pointwise = Pointwise(channels, outputs, bias=False)

    def forward(self, tokens: Tensor, repeats: int) -> Tensor:
        """Project tokens, each image of which stands for `repeats` pairs."""
        maps = self.norm(self.depthwise(tokens.flatten(0, 2).permute(0, 3, 1, 2)), repeats)
        return self.pointwise(maps.permute(0, 2, 3, 1).unflatten(0, tokens.shape[:3]))


class RelationMining(nn.Module):
    """The CSRM of a target: `mining(attn_q (E,Q,S,H,W,I), attn_kv (E,Q,S,h,w,2I)) -> (E,Q,S,H,W,C)`.

    `project_q(tokens, repeats)` makes `attn_q` of the target, `project_kv(tokens, repeats)` makes `attn_kv` of the
    source; `repeats` is the number of pairs that each image stands for.

    Args:
        channels: C.
        heads: the heads of attention.
        dim_head: dimensions of a head.
        kv_stride: the stride of keys and values.
        dropout: probability, of the CSRM.
    """

    def __init__(self, channels: int, heads: int, dim_head: int, kv_stride: int, dropout: float) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        # The attributes have the names in checkpoints, the properties the field's names.
        self.ask = Projection(channels, inner)
        self.answer = Projection(channels, 2 * inner, kv_stride)
        self.attention = GroupedAttention(heads)
        self.out = Pointwise(inner, channels)
        self.dropout = nn.Dropout(dropout)

    @property
    def project_q(self) -> Projection:
        """The target's projection: (E,Q,S,H,W,C) -> (E,Q,S,H,W,I)."""
        return self.ask

    @property
    def project_kv(self) -> Projection:
        """The source's projection to keys and values: (E,Q,S,H,W,C) -> (E,Q,S,h,w,2I)."""
        return self.answer

    def forward(self, attn_q: Tensor, attn_kv: Tensor) -> Tensor:
        """Return the mined values: queries (E,Q,S,H,W,I), keys and values (E,Q,S,h,w,2I) -> (E,Q,S,H,W,C)."""
        keys, values = attn_kv.flatten(3, 4).chunk(2, -1)
        attended = self.attention(attn_q.flatten(3, 4), keys, values)
        return self.dropout(self.out(attended.unflatten(3, attn_q.shape[3:5])))


class GroupedAttention(nn.Module):
    """Attention of pairs: queries (E,Q,S,N,I), keys and values (E,Q,S,M,I) -> (E,Q,S,N,I).

    Q is 1 in tensors that depend on the support alone, S is 1 in those that depend on the query image alone.

    >>> attn_q, keys = torch.randn(1, 1, 5, 9, 8), torch.randn(1, 15, 1, 9, 8)
    >>> GroupedAttention(heads=2)(attn_q, keys, keys).shape
    torch.Size([1, 15, 5, 9, 8])
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, attn_q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return the attended values, (E,Q,S,N,I); see the class for the shapes."""
        if keys.shape[1] == 1 and keys.shape[2] > 1:  # each support is the source for all query images
            transposed = (operand.transpose(1, 2) for operand in (attn_q, keys, values))
            return self._attend(*transposed).transpose(1, 2)
        return self._attend(attn_q, keys, values)

    def _attend(self, attn_q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        pairs = torch.broadcast_shapes(attn_q.shape[:3], keys.shape[:3])
        rows = attn_q.expand(*pairs, -1, -1)
        # Where keys are shared over the third dimension, its pairs become rows; elsewhere they stay apart.
        rows = rows.flatten(2, 3) if keys.shape[2] == 1 else rows.flatten(1, 2)
        keys, values = (operand.flatten(1, 2) for operand in (keys, values))
        operands = (operand.flatten(0, 1).unflatten(-1, (self.heads, -1)) for operand in (rows, keys, values))
        attended = nn.functional.scaled_dot_product_attention(*(operand.transpose(1, 2) for operand in operands))
        return attended.transpose(1, 2).reshape(*pairs, *attn_q.shape[3:])
