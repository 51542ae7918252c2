"""The cross-attention designs of HelixFormer, arXiv 2207.00784, figures 2 and 3: one layer of each.

`OneWay` has one direction, `Serial` a second one whose source is what the first made of its target, `Symmetric` both
from the features that came in. The norms in front of the projections are a direction's own in `OneWay` and `Serial`,
and a side's in `Symmetric`.

A layer works in two steps: `prepare` computes what depends on one side alone, `relate` what depends on pairs. Sides
keep 1 in the dimension of pairs that they do not depend on: features of supports come as (E,1,S,H,W,C), of queries as
(E,Q,1,H,W,C), and a side that no direction updates stays so. Legend: `E` episodes, `Q` queries, `S` supports.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from raysearch.models.helix.direction import Direction, LayerSizes, Side, SideName, build_enhancement
from raysearch.models.helix.position_norm import PositionNorm


class Layer(nn.Module, ABC):
    @abstractmethod
    def prepare(self, side: SideName, features: Tensor, repeats: int) -> Side:
        """Compute what depends on one side alone.

        Args:
            side: which.
            features: (E, Q or 1, S or 1, H, W, C).
            repeats: for how many pairs each row of features stands; running statistics in training depend on it.
        """

    @abstractmethod
    def relate(self, support: Side, query: Side) -> tuple[Tensor, Tensor]:
        """New features of the supports and of the queries: (E,Q,S,H,W,C), or as they came where no direction leads."""

    @abstractmethod
    def directions(self) -> dict[SideName, Direction]:
        """The directions by their targets."""


class OneWay(Layer):
    def __init__(self, sizes: LayerSizes, target: SideName) -> None:
        super().__init__()
        self.target = target
        self.target_norm, self.source_norm = PositionNorm(sizes.width), PositionNorm(sizes.width)
        self.direction = Direction(sizes)

    def prepare(self, side: SideName, features: Tensor, repeats: int) -> Side:
        mining = self.direction.mining
        if side == self.target:
            return Side(features, attn_q=mining.project_q(self.target_norm(features), repeats))
        return Side(features, attn_kv=mining.project_kv(self.source_norm(features), repeats))

    def relate(self, support: Side, query: Side) -> tuple[Tensor, Tensor]:
        if self.target == "support":
            return self.direction(support, query), query.features
        return support.features, self.direction(query, support)

    def directions(self) -> dict[SideName, Direction]:
        return {self.target: self.direction}


class Serial(Layer):
    def __init__(self, sizes: LayerSizes, first: SideName) -> None:
        super().__init__()
        self.first, self.second = OneWay(sizes, first), OneWay(sizes, _other(first))

    def prepare(self, side: SideName, features: Tensor, repeats: int) -> Side:
        prepared = self.first.prepare(side, features, repeats)
        if side == self.second.target:
            return prepared._replace(attn_q=self.second.prepare(side, features, repeats).attn_q)
        return prepared

    def relate(self, support: Side, query: Side) -> tuple[Tensor, Tensor]:
        new_support, new_query = self.first.relate(support, query)
        if self.first.target == "support":
            support = self.second.prepare("support", new_support, repeats=1)
        else:
            query = self.second.prepare("query", new_query, repeats=1)
        return self.second.relate(support, query)

    def directions(self) -> dict[SideName, Direction]:
        return self.first.directions() | self.second.directions()


class Symmetric(Layer):
    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        self.support_norm, self.query_norm = PositionNorm(sizes.width), PositionNorm(sizes.width)
        self.support, self.query = Direction(sizes), Direction(sizes)  # by their targets

    def prepare(self, side: SideName, features: Tensor, repeats: int) -> Side:
        if side == "support":
            norm, to_it, from_it = self.support_norm, self.support.mining, self.query.mining
        else:
            norm, to_it, from_it = self.query_norm, self.query.mining, self.support.mining
        normed = norm(features)
        return Side(features, to_it.project_q(normed, repeats), from_it.project_kv(normed, repeats))

    def relate(self, support: Side, query: Side) -> tuple[Tensor, Tensor]:
        return self.support(support, query), self.query(query, support)

    def directions(self) -> dict[SideName, Direction]:
        return {"support": self.support, "query": self.query}


class EnhanceOnly(Layer):
    """No relation mining: the sides that the design updates are enhanced, each image alone."""

    def __init__(self, sizes: LayerSizes, targets: tuple[SideName, ...]) -> None:
        super().__init__()
        self.support = build_enhancement(sizes) if "support" in targets else nn.Identity()
        self.query = build_enhancement(sizes) if "query" in targets else nn.Identity()

    def prepare(self, side: SideName, features: Tensor, repeats: int) -> Side:
        return Side(features)

    def relate(self, support: Side, query: Side) -> tuple[Tensor, Tensor]:
        return self.support(support.features), self.query(query.features)

    def directions(self) -> dict[SideName, Direction]:
        return {}


def _other(side: SideName) -> SideName:
    return "query" if side == "support" else "support"


# who learns from whom, and the layer that does it
DESIGNS: dict[str, tuple[tuple[SideName, ...], Callable[[LayerSizes], Layer]]] = {
    "q2s": (("support",), partial(OneWay, target="support")),
    "s2q": (("query",), partial(OneWay, target="query")),
    "s_then_q": (("query", "support"), partial(Serial, first="query")),
    "q_then_s": (("support", "query"), partial(Serial, first="support")),
    "sym": (("support", "query"), Symmetric),
}
