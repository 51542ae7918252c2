"""Relation mining process (RMP) of HelixFormer, arXiv 2207.00784: one image asks, the other answers.

Every position of the target asks a question, every position of the source has a key and a value, and what comes back
is the cross-image semantic relation map (CSRM) of the target: softmax(e k^T / sqrt(d)) v for each head, mapped back to
the channels. Questions, keys and values come from depth-wise separable projections.

What belongs to an image alone is computed once an image, and no key, value or attention map is laid out for each pair:
softmax goes by rows, so the questions of all pairs that ask the same image are rows of one attention.

Legend: `E` episodes, `Q` queries, `S` supports, `H x W` positions, `h x w` positions after the stride of keys and
values, `C` channels, `I` = heads x dimensions of a head. A dimension of pairs that a tensor does not depend on is 1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from raysearch.models.helix.batch_norm import RepeatedBatchNorm2d
from raysearch.models.helix.pointwise import Pointwise


class Projection(nn.Module):
    """Depth-wise 3 x 3 convolution, batch norm, 1 x 1 convolution: (E,Q,S,H,W,C) -> (E,Q,S,h,w,outputs)."""

    def __init__(self, channels: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        self.norm = RepeatedBatchNorm2d(channels)
        self.pointwise = Pointwise(channels, outputs, bias=False)

    def forward(self, tokens: Tensor, repeats: int) -> Tensor:
        maps = self.norm(self.depthwise(tokens.flatten(0, 2).permute(0, 3, 1, 2)), repeats)
        return self.pointwise(maps.permute(0, 2, 3, 1).unflatten(0, tokens.shape[:3]))


class RelationMining(nn.Module):
    """The CSRM of a target: `mining(questions, answers) -> (E,Q,S,H,W,C)`.

    `ask(tokens (E,Q,S,H,W,C), repeats) -> questions (E,Q,S,H,W,I)` is for the target, `answer(tokens, repeats) ->
    answers (E,Q,S,h,w,2I)`, keys and values, for the source; `repeats` is the number of pairs that each image stands
    for.
    """

    def __init__(self, channels: int, heads: int, dim_head: int, kv_stride: int, dropout: float) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        # The names in checkpoints; see the properties.
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
        keys, values = attn_kv.flatten(3, 4).chunk(2, -1)
        mined = self.attention(attn_q.flatten(3, 4), keys, values)
        return self.dropout(self.out(mined.unflatten(3, attn_q.shape[3:5])))


class GroupedAttention(nn.Module):
    """Attention of pairs: questions (E,Q,S,N,I), keys and values (E,Q,S,M,I) -> (E,Q,S,N,I).

    Q or S is 1 for what the pairs of a support or of a query share.

    >>> questions, keys = torch.randn(1, 1, 5, 9, 8), torch.randn(1, 15, 1, 9, 8)
    >>> GroupedAttention(heads=2)(questions, keys, keys).shape
    torch.Size([1, 15, 5, 9, 8])
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, questions: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if keys.shape[1] == 1 and keys.shape[2] > 1:  # a support answers all queries
            turned = (operand.transpose(1, 2) for operand in (questions, keys, values))
            return self._of_sources(*turned).transpose(1, 2)
        return self._of_sources(questions, keys, values)

    def _of_sources(self, questions: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        pairs = torch.broadcast_shapes(questions.shape[:3], keys.shape[:3])
        rows = questions.expand(*pairs, -1, -1)
        # Where keys are shared over the third dimension, its pairs become rows; elsewhere they stay apart.
        rows = rows.flatten(2, 3) if keys.shape[2] == 1 else rows.flatten(1, 2)
        keys, values = (operand.flatten(1, 2) for operand in (keys, values))
        operands = (operand.flatten(0, 1).unflatten(-1, (self.heads, -1)) for operand in (rows, keys, values))
        mined = functional.scaled_dot_product_attention(*(operand.transpose(1, 2) for operand in operands))
        return mined.transpose(1, 2).reshape(*pairs, *questions.shape[3:])
