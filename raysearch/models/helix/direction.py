"""One direction of HelixFormer, arXiv 2207.00784: a target's features change by what they attend to in a source.

Relation mining (RMP) gives the cross-image semantic relation map (CSRM). Fusion takes it as a soft mask of the target's
features, which is their product. Representation enhancement (REP) works on the result. Legend as in `helix.mining`: `E`
episodes, `Q` queries, `S` supports; 1 in a dimension of pairs that a tensor does not depend on.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from raysearch.models.helix.layers import RepresentationEnhancement
from raysearch.models.helix.mining import RelationMining

SideName = Literal["support", "query"]


def masked_residual(features: Tensor, csrm: Tensor) -> Tensor:
    """Return f + f m, of features f and CSRM m."""
    return features + features * csrm


# of features f and CSRM m; the paper's is "mul"
FUSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mul": operator.mul,
    "add": operator.add,
    "mul_res": masked_residual,
}


class Side(NamedTuple):
    """The inputs of a layer from one side of the pairs."""

    features: Tensor  # (E, Q or 1, S or 1, H, W, C)
    attn_q: Tensor | None = None  # (E, Q or 1, S or 1, H, W, I), of a target
    attn_kv: Tensor | None = None  # (E, Q or 1, S or 1, h, w, 2I), of a source

    def slice_queries(self, start: int, stop: int) -> "Side":
        """Return the query side for some of the query images, as views."""
        attn_q, attn_kv = (None if part is None else part[:, start:stop] for part in self[1:])
        return Side(self.features[:, start:stop], attn_q, attn_kv)


@dataclass(frozen=True)
class LayerSizes:
    """The settings that layers are built from; the names are HelixFormer's arguments.

    Raises:
        ValueError: a setting that is unknown or out of its range.
    """

    width: int
    heads: int
    dim_head: int
    fusion: str
    rep: bool
    kv_stride: int
    mlp_ratio: int
    dropout: float

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion: unknown '{self.fusion}'; known: {', '.join(FUSIONS)}")
        for name in ("width", "heads", "dim_head", "kv_stride", "mlp_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: at least 0 and less than 1, got {self.dropout}")


class Direction(nn.Module):
    """The update of a target by a source: `direction(target, source) -> (E,Q,S,H,W,C)`."""

    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        self.mining = RelationMining(sizes.width, sizes.heads, sizes.dim_head, sizes.kv_stride, sizes.dropout)
        self.fuse = FUSIONS[sizes.fusion]
        self.enhancement = build_enhancement(sizes)

    def forward(self, target: Side, source: Side) -> Tensor:
        """Return the target fused with the values mined from the source, (E,Q,S,H,W,C), after REP if there is one."""
        assert target.attn_q is not None
        assert source.attn_kv is not None
        return self.enhancement(self.fuse(target.features, self.mining(target.attn_q, source.attn_kv)))


def build_enhancement(sizes: LayerSizes) -> nn.Module:
    """Return REP, or the identity where the sizes leave it out."""
    if not sizes.rep:
        return nn.Identity()
    return RepresentationEnhancement(sizes.width, sizes.mlp_ratio, sizes.dropout)
