"""The cross-attention designs of HelixFormer, arXiv 2207.00784, figures 2 and 3: one layer of each.

`OneWay` has one direction. `Serial` has a second one, whose source is the target that the first has updated.
`Symmetric` has both, each from the features at the layer's input. In `OneWay` and `Serial` each direction has norms of
its own in front of the projections; in `Symmetric` each side has one.

A layer works in two steps: `prepare` computes whatever depends on one side alone, `relate` whatever depends on pairs.
Sides keep 1 in the dimension of pairs that they do not depend on: features of supports are (E,1,S,H,W,C), of queries
(E,Q,1,H,W,C), and a side that no direction updates stays so. Legend: `E` episodes, `Q` queries, `S` supports.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from raysearch.models.helix.direction import Direction, LayerSizes, Side, SideName, build_enhancement
from raysearch.models.helix.layers import PositionNorm


class Layer(nn.Module, ABC):
    """One layer of a design."""

    @abstractmethod
    def prepare(self, side: SideName, features: Tensor, repeats: int) -> Side:
        """Compute whatever depends on one side alone.

        Args:
            side: the side that the features belong to.
            features: (E, Q or 1, S or 1, H, W, C).
            repeats: number of pairs that each row of features stands for; running statistics in training depend on it.
        """

    @abstractmethod
    def relate(self, support: Side, query: Side) -> tuple[Tensor, Tensor]:
        """Return new features of supports and queries: (E,Q,S,H,W,C), or as they were where not updated."""

    @abstractmethod
    def directions(self) -> dict[SideName, Direction]:
        """Return the directions by their targets."""


class OneWay(Layer):
    """The target learns from the other side."""

    def __init__(self, sizes: LayerSizes, target: SideName) -> None:
        super().__init__()
        self.target = target
        self.target_norm = PositionNorm(sizes.width)
        self.source_norm = PositionNorm(sizes.width)
        self.direction = Direction(sizes)

    def prepare(self, side: SideName, features: Tensor, repeats: int) -> Side:
        """Project the target's features to queries, or the source's to keys and values."""
        mining = self.direction.mining
        if side == self.target:
            return Side(features, attn_q=mining.project_q(self.target_norm(features), repeats))
        return Side(features, attn_kv=mining.project_kv(self.source_norm(features), repeats))

    def relate(self, support: Side, query: Side) -> tuple[Tensor, Tensor]:
        """Return the target updated for each pair, (E,Q,S,H,W,C), and the source as it was."""
        if self.target == "support":
            return self.direction(support, query), query.features
        return support.features, self.direction(query, support)

    def directions(self) -> dict[SideName, Direction]:
        """Return the only direction, by its target."""
        return {self.target: self.direction}


class Serial(Layer):
    """The target `first` learns from the other side, which then learns from the updated target."""

    def __init__(self, sizes: LayerSizes, first: SideName) -> None:
        super().__init__()
        self.first = OneWay(sizes, first)
        self.second = OneWay(sizes, _other(first))

    def prepare(self, side: SideName, features: Tensor, repeats: int) -> Side:
        """Project for the first direction, and project to queries the side that the second one updates."""
        prepared = self.first.prepare(side, features, repeats)
        if side == self.second.target:
            return prepared._replace(attn_q=self.second.prepare(side, features, repeats).attn_q)
        return prepared

    def relate(self, support: Side, query: Side) -> tuple[Tensor, Tensor]:
        """Return both sides, (E,Q,S,H,W,C): the second direction reads the target that the first has updated."""
        new_support, new_query = self.first.relate(support, query)
        if self.first.target == "support":
            support = self.second.prepare("support", new_support, repeats=1)
        else:
            query = self.second.prepare("query", new_query, repeats=1)
        return self.second.relate(support, query)

    def directions(self) -> dict[SideName, Direction]:
        """Return both directions, by their targets."""
        return self.first.directions() | self.second.directions()


class Symmetric(Layer):
    """Both sides learn from each other at once."""

    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        self.support_norm = PositionNorm(sizes.width)
        self.query_norm = PositionNorm(sizes.width)
        self.support = Direction(sizes)  # whose target is the support
        self.query = Direction(sizes)  # whose target is the query

    def prepare(self, side: SideName, features: Tensor, repeats: int) -> Side:
        """Project a side for both roles, from one norm: to queries as a target, to keys and values as a source."""
        norm = self.support_norm if side == "support" else self.query_norm
        as_target, as_source = (self.support, self.query) if side == "support" else (self.query, self.support)
        normed = norm(features)
        return Side(features, as_target.mining.project_q(normed, repeats), as_source.mining.project_kv(normed, repeats))

    def relate(self, support: Side, query: Side) -> tuple[Tensor, Tensor]:
        """Return both sides, (E,Q,S,H,W,C), each updated from the other's features at the layer's input."""
        return self.support(support, query), self.query(query, support)

    def directions(self) -> dict[SideName, Direction]:
        """Return both directions, by their targets."""
        return {"support": self.support, "query": self.query}


class EnhanceOnly(Layer):
    """No relation mining: the sides that the design updates are enhanced, each image by itself."""

    def __init__(self, sizes: LayerSizes, targets: tuple[SideName, ...]) -> None:
        super().__init__()
        self.support = build_enhancement(sizes) if "support" in targets else nn.Identity()
        self.query = build_enhancement(sizes) if "query" in targets else nn.Identity()

    def prepare(self, side: SideName, features: Tensor, repeats: int) -> Side:
        """Return the features without projections, since no side reads the other."""
        return Side(features)

    def relate(self, support: Side, query: Side) -> tuple[Tensor, Tensor]:
        """Return the features of both sides, enhanced by REP where the design updates them."""
        return self.support(support.features), self.query(query.features)

    def directions(self) -> dict[SideName, Direction]:
        """Return no directions: there is no attention."""
        return {}


def _other(side: SideName) -> SideName:
    return "query" if side == "support" else "support"


SERIAL = ("s_then_q", "q_then_s")
ORDERS = ("layers", "directions")  # of a serial design with several layers

# design -> the sides that it updates in their order, and its layer
DESIGNS: dict[str, tuple[tuple[SideName, ...], Callable[[LayerSizes], Layer]]] = {
    "q2s": (("support",), partial(OneWay, target="support")),
    "s2q": (("query",), partial(OneWay, target="query")),
    "s_then_q": (("query", "support"), partial(Serial, first="query")),
    "q_then_s": (("support", "query"), partial(Serial, first="support")),
    "sym": (("support", "query"), Symmetric),
}
