"""HelixFormer (arXiv 2207.00784) in the usual form: all pairs are expanded, and one network runs over them.

Supports and queries are copied to the pairs of an episode. Embedding, projections, attention, enhancement and the
relation head run on all copies in large batches, with explicit attention maps. The file implements the paper's own
design only: one layer, both directions, features times their relation map, followed by enhancement.

Modules have the names of `raysearch.models.helixformer` and `raysearch.models.relation`, so that one state fits both.
Legend: `E` episodes, `W` ways, `K` shots, `N` queries, `B` = E N W K pairs, `C` channels, `H x W` positions.
"""

import torch
from torch import Tensor, nn

from raysearch.models.fewshot import HeadOutput, Maps
from raysearch.models.precision import at_least_single

EPSILON = 1e-5  # added to the deviation in the norm over channels


class PairwiseHelix(nn.Module):
    """The usual form of `raysearch.models.fewshot_heads.HelixHead`.

    Args:
        channels: C.
        size: H and W.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.helix = Pairs(channels)
        self.head = Head(channels, size)

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        """Return logits (E,N,W) from one tap: support (E,W,K,C,H,W), query (E,N,C,H,W)."""
        (support_maps,) = support
        (query_maps,) = query
        episodes, ways, shots = support_maps.shape[:3]
        queries = query_maps.shape[1]
        maps = query_maps.shape[2:]
        pairs = episodes, queries, ways * shots, *maps
        supports = support_maps.flatten(1, 2).unsqueeze(1).expand(pairs).reshape(-1, *maps)
        copies = query_maps.unsqueeze(2).expand(pairs).reshape(-1, *maps)
        scores = self.head(*self.helix(supports, copies))
        return HeadOutput(scores.view(episodes, queries, ways, shots).mean(-1))


class Pairs(nn.Module):
    """HelixFormer on expanded pairs: embeddings, then one layer in both directions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.support_embedding = Embedding(channels)
        self.query_embedding = Embedding(channels)
        self.layers = nn.ModuleList([BothDirections(channels)])

    def forward(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Return enhanced support and query maps (B,C,H,W) of support and query maps (B,C,H,W)."""
        return self.layers[0](self.support_embedding(support), self.query_embedding(query))


class Norm(nn.Module):
    """Normalize over the channels of each position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the normalized maps (B,C,H,W)."""
        variance, mean = torch.var_mean(maps, 1, correction=0, keepdim=True)
        normed = (maps - mean) / ((variance + 1e-12).sqrt() + EPSILON)
        return normed * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class Embedding(nn.Module):
    """A 3 x 3 convolution followed by a norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = Norm(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the embedded maps (B,C,H,W)."""
        return self.norm(self.convolution(maps))


class BothDirections(nn.Module):
    """One layer: supports attend to queries and queries attend to supports."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.support_norm = Norm(channels)
        self.query_norm = Norm(channels)
        self.support = Direction(channels)
        self.query = Direction(channels)

    def forward(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Return enhanced support and query maps (B,C,H,W) of support and query maps (B,C,H,W)."""
        normed_support = self.support_norm(support)
        normed_query = self.query_norm(query)
        return self.support(support, normed_support, normed_query), self.query(query, normed_query, normed_support)


class Direction(nn.Module):
    """One direction of a layer: mine the relation map, multiply the features by it, and enhance them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mining = Mining(channels)
        self.enhancement = Enhancement(channels)

    def forward(self, features: Tensor, asking: Tensor, answering: Tensor) -> Tensor:
        """Return the enhanced features (B,C,H,W); all arguments are maps of that shape."""
        return self.enhancement(features * self.mining(asking, answering))


class Mining(nn.Module):
    """Cross attention from one side's maps to the other's, which gives the relation map."""

    def __init__(self, channels: int, heads: int = 2, dim_head: int = 64) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * dim_head
        self.ask = Projection(channels, inner)
        self.answer = Projection(channels, 2 * inner)
        self.out = nn.Conv2d(inner, channels, 1)

    def forward(self, asking: Tensor, answering: Tensor) -> Tensor:
        """Return the relation map (B,C,H,W) of the asking maps (B,C,H,W) over the answering maps (B,C,H,W)."""
        questions, keys, values = (
            maps.flatten(2).unflatten(1, (self.heads, -1)).transpose(-1, -2)
            for maps in (self.ask(asking), *self.answer(answering).chunk(2, 1))
        )
        attention = (questions @ keys.mT * questions.shape[-1] ** -0.5).softmax(-1)
        return self.out((attention @ values).transpose(-1, -2).flatten(1, 2).unflatten(-1, asking.shape[2:]))


class Projection(nn.Sequential):
    """A depthwise and a pointwise convolution, with batch normalization between them."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, outputs, 1, bias=False)


class Enhancement(nn.Module):
    """A residual network of two 1 x 1 convolutions at each position."""

    def __init__(self, channels: int, ratio: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = ratio * channels
        self.norm = Norm(channels)
        self.network = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.GELU(), nn.Dropout(dropout), nn.Conv2d(hidden, channels, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return the enhanced maps (B,C,H,W)."""
        return maps + self.network(self.norm(maps))


class Head(nn.Module):
    """Score pairs with the Relation Network's head on the concatenated maps."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        padding = 0 if size >= 10 else 1
        self.compare = nn.Conv2d(2 * channels, channels, 3, padding=padding)
        self.compare_norm = nn.BatchNorm2d(channels)
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=padding), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)
        )
        shrink = 2 - 2 * padding
        side = ((size - shrink) // 2 - shrink) // 2
        self.score = nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, support: Tensor, query: Tensor) -> Tensor:
        """Return scores (B,) of support and query maps (B,C,H,W)."""
        compared = self.compare_norm(self.compare(torch.cat((support, query), 1))).relu()
        return self.score(at_least_single(self.block(nn.functional.max_pool2d(compared, 2)))).squeeze(-1)
