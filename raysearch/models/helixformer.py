"""HelixFormer: Zhang, Yuan, Li, Chen, Fan, Shi, "Learning Cross-Image Object Semantic Relation in Transformer for
Few-Shot Fine-Grained Image Classification", ACM MM 2022, arXiv 2207.00784.

Before a support and a query are compared, each is changed by attention to the other. Relation mining (RMP) attends
across the two images, and representation enhancement (REP) then works at each position:

    f' = REP(f * RMP(f, g)),   REP(x) = x + FFN(norm(x))      features f of one image, g of the other

`design` sets which side learns from which. "sym" is the paper's design; the others are those of its figure 3.

Departures: whatever depends on one image alone is computed once, not per pair (`helix.mining`). The numbers are the
same, except that dropout draws one mask for whatever is computed once. A side that is not updated still goes through
its embedding, as in the released program. The figure shows the bare features, which only fit if the widths are equal.
Every support meets the query, also with several shots, and scores are averaged over shots. The released program does
that with one shot only. With K > 1 it joins maps along the dimension of shots: of 5 supports its "pairs" are (s1, s2),
(s3, s4), (s5, q1), (q2, q3) and (q4, q5). So its published 5-shot numbers are of another pairing, which
`helix.shot_pairs` offers. Layers of a serial design (s_then_q, q_then_s) follow each other; `order="directions"` runs
all layers of the first direction before those of the second, as the released program does. With one layer, which the
figure shows, both are equal. In training, the released program lowers its rate one epoch earlier (it steps its schedule
before an epoch). On Cars and Aircraft its `color` views show whole images of 84 px in training, and the middle of 92 px
in tests; here both are the middle.

Legend: `E` episodes, `Q` queries, `S` supports, `C` channels, `H x W` positions.
"""

import torch
from torch import Tensor, nn

from raysearch.models.helix import designs, direction, layers


class HelixFormer(nn.Module):
    """`helix(support (S,C,H,W), query (Q,C,H,W)) -> (support' (Q,S,C',H,W), query' (Q,S,C',H,W))`.

    With a leading dimension, (E,S,C,H,W) and (E,Q,C,H,W), episodes are separate, but batch norm in training sees all
    of them. A side that the design does not update is returned as an expanded view.

    Args:
        channels: C.
        depth: number of layers; with 0 only the embedding is left.
        heads: the heads of attention.
        dim_head: channels of a head.
        design: "q2s", "s2q", "s_then_q", "q_then_s" or "sym".
        fusion: the fusion of features f and CSRM m: "mul" f m, "add" f + m, "mul_res" f + f m.
        rep: whether the fused features go through the enhancement.
        rmp: whether images attend to each other; otherwise they are only enhanced.
        width: C'; None: C.
        embed_kernel: side of the embedding's convolution, odd.
        kv_stride: the stride of keys and values; above 1 there are fewer positions to attend to.
        mlp_ratio: hidden channels of the enhancement over C'.
        dropout: probability, of the CSRM's mapping and in the enhancement.
        order: of a serial design with several layers: "layers", or "directions" as in the released program.

    Raises:
        ValueError: an argument is unknown or out of its range.

    >>> helix = HelixFormer(64)
    >>> sum(parameter.numel() for parameter in helix.parameters())
    209280
    >>> support, query = helix(torch.randn(5, 64, 6, 6), torch.randn(7, 64, 6, 6))
    >>> support.shape == query.shape == (7, 5, 64, 6, 6)
    True
    """

    def __init__(
        self,
        channels: int,
        depth: int = 1,
        heads: int = 2,
        dim_head: int = 64,
        design: str = "sym",
        fusion: str = "mul",
        rep: bool = True,
        *,
        rmp: bool = True,
        width: int | None = None,
        embed_kernel: int = 3,
        kv_stride: int = 1,
        mlp_ratio: int = 4,
        dropout: float = 0.0,
        order: str = "layers",
    ) -> None:
        super().__init__()
        for name, value, minimum in (("channels", channels, 1), ("depth", depth, 0), ("embed_kernel", embed_kernel, 1)):
            if value < minimum:
                raise ValueError(f"{name}: at least {minimum}, got {value}")
        if embed_kernel % 2 == 0:
            raise ValueError(f"embed_kernel: an odd number, got {embed_kernel}")
        if design not in designs.DESIGNS:
            raise ValueError(f"design: unknown '{design}'; known: {', '.join(designs.DESIGNS)}")
        if order not in designs.ORDERS:
            raise ValueError(f"order: unknown '{order}'; known: {', '.join(designs.ORDERS)}")
        width = channels if width is None else width
        sizes = direction.LayerSizes(width, heads, dim_head, fusion, rep, kv_stride, mlp_ratio, dropout)
        targets, layer = designs.DESIGNS[design]
        self.support_embedding = Embedding(channels, width, embed_kernel)
        self.query_embedding = Embedding(channels, width, embed_kernel)
        if rmp and order == "directions" and design in designs.SERIAL:
            self.layers = nn.ModuleList(designs.OneWay(sizes, target) for target in targets for _ in range(depth))
        else:
            self.layers = nn.ModuleList(
                layer(sizes) if rmp else designs.EnhanceOnly(sizes, targets) for _ in range(depth)
            )

    def forward(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of all pairs, supports and queries, both (E,Q,S,C',H,W); see `pairs` for less memory."""
        new_support, new_query = self.pairs(support, query)
        queries = query.shape[-4]
        supports = support.shape[-4]
        shape = (*query.shape[:-4], queries, supports, *new_query.shape[-3:])
        return new_support.expand(shape), new_query.expand(shape)

    def pairs(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Do as `forward`, with 1 in a dimension that a side does not depend on: (..., Q or 1, S or 1, C', H, W)."""
        episodes = support.shape[:-4]
        supports = support.shape[-4]
        queries = query.shape[-4]
        pairs = self.relate(
            self.prepare("support", support.reshape(-1, *support.shape[-4:]), repeats=queries),
            self.prepare("query", query.reshape(-1, *query.shape[-4:]), repeats=supports),
        )
        new_support, new_query = (maps.reshape(*episodes, *maps.shape[1:]) for maps in pairs)
        return new_support, new_query

    def prepare(self, side: direction.SideName, images: Tensor, repeats: int = 1) -> direction.Side:
        """Compute whatever depends on the images of one side alone.

        Args:
            side: the side of the images.
            images: (E,n,C,H,W).
            repeats: number of images on the other side; running statistics in training depend on it.
        """
        embedding = self.support_embedding if side == "support" else self.query_embedding
        features = embedding(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        features = features.unsqueeze(1 if side == "support" else 2)
        return self._layer(0).prepare(side, features, repeats) if len(self.layers) else direction.Side(features)

    def relate(self, support: direction.Side, query: direction.Side) -> tuple[Tensor, Tensor]:
        """Return the new features of all pairs of two prepared sides: both (E, Q or 1, S or 1, C', H, W)."""
        queries = query.features.shape[1]
        supports = support.features.shape[2]
        features = support.features, query.features
        for index in range(len(self.layers)):
            layer = self._layer(index)
            if index > 0:
                support = layer.prepare("support", features[0], queries // features[0].shape[1])
                query = layer.prepare("query", features[1], supports // features[1].shape[2])
            features = layer.relate(support, query)
        new_support, new_query = (tokens.permute(0, 1, 2, 5, 3, 4) for tokens in features)
        return new_support, new_query

    @property
    def widening(self) -> float:
        """Channels after the embedding over channels before it; 1 where there are fewer."""
        convolution = self.support_embedding.convolution
        return max(1.0, convolution.out_channels / convolution.in_channels)

    def _layer(self, index: int) -> designs.Layer:
        layer = self.layers[index]
        assert isinstance(layer, designs.Layer)
        return layer


class Embedding(nn.Module):
    """Images (B,C,H,W) to normalized features with channels last, (B,H,W,C')."""

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
        self.norm = layers.PositionNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """Return normalized features with channels last: (B,C,H,W) -> (B,H,W,C')."""
        # Channels last from the start, since the next operations are products over the channels of a position.
        images = images.contiguous(memory_format=torch.channels_last)
        return self.norm(self.convolution(images).permute(0, 2, 3, 1))
