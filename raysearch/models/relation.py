"""Relation scores of pairs of feature maps: a small convolutional network, or a cosine for comparison.

Sung, Yang, Zhang, Xiang, Torr, Hospedales, "Learning to Compare: Relation Network for Few-Shot Learning", CVPR 2018,
arXiv 1711.06025. The two maps of a pair are concatenated, and a network learns to score how alike they are. The layers
are those of HelixFormer (arXiv 2207.00784), whose maps of a support and a query are scored.

Departures: a convolution over two concatenated maps is the sum of one convolution over each. So a side that does not
depend on the other (1 in its dimension of pairs) is convolved once per image, with the same numbers.

Legend: `Q` queries, `S` supports, `C` channels, `H x W` positions; dots are any dimensions, such as episodes.
"""

import torch
from torch import Tensor, nn

from raysearch.models.precision import at_least_single


class RelationHead(nn.Module):
    """`head(support (...,Q or 1,S,C,H,W), query (...,Q,S or 1,C,H,W)) -> scores (...,Q,S)`, no sigmoid.

    Two blocks of 3 x 3 convolution, batch norm, ReLU and 2 x 2 max-pool, then two linear layers with ReLU between them.
    Convolutions are initialized by their fan out, linear layers with N(0, 0.01) and biases of one.

    Args:
        channels: C.
        size: H and W.

    Raises:
        ValueError: maps of fewer than 4 x 4 positions; the pools would leave none.

    >>> head = RelationHead(64, 21)
    >>> sum(parameter.numel() for parameter in head.parameters())
    115601
    >>> head(torch.randn(1, 5, 64, 21, 21), torch.randn(7, 1, 64, 21, 21)).shape
    torch.Size([7, 5])
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        if size < 4:
            raise ValueError(f"size: at least 4 positions a side, got {size}")
        padding = 0 if size >= 10 else 1
        self.compare = nn.Conv2d(2 * channels, channels, 3, padding=padding)
        self.compare_norm = nn.BatchNorm2d(channels)
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=padding), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)
        )
        shrink = 2 - 2 * padding
        side = ((size - shrink) // 2 - shrink) // 2
        self.score = nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, 8), nn.ReLU(), nn.Linear(8, 1))
        self.apply(_initialize)

    def forward(self, support: Tensor, query: Tensor) -> Tensor:
        """Return the scores of pairs, float32 or wider. Each half of the first convolution runs once per side."""
        support_weight, query_weight = self.compare.weight.chunk(2, dim=1)
        compared = self._convolve(support, support_weight, self.compare.bias)
        compared = compared + self._convolve(query, query_weight, None)
        pairs = nn.functional.relu(self.compare_norm(compared.flatten(0, -4)))
        pairs = self.block(nn.functional.max_pool2d(pairs, 2))
        # Scores are compared with each other; bfloat16 is too coarse for that.
        with torch.autocast(pairs.device.type, enabled=False):
            return self.score(at_least_single(pairs)).view(compared.shape[:-3])

    def _convolve(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        convolved = nn.functional.conv2d(maps.flatten(0, -4), weight, bias, padding=self.compare.padding)
        return convolved.unflatten(0, maps.shape[:-3])


class CosineHead(nn.Module):
    """The cosine of the maps' means over positions, times a learned scale; shapes as in `RelationHead`.

    >>> maps = torch.tensor([[3.0, 0.0], [0.0, 2.0]]).view(2, 2, 1, 1)
    >>> CosineHead()(maps[None], maps[:, None]).detach()
    tensor([[10.,  0.],
            [ 0., 10.]])
    """

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, support: Tensor, query: Tensor) -> Tensor:
        """Return the scaled cosine of each pair's mean features, float32 or wider."""
        support_means, query_means = (at_least_single(maps).mean((-2, -1)) for maps in (support, query))
        return self.scale * nn.functional.cosine_similarity(support_means, query_means, dim=-1)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=(2 / (module.out_channels * module.weight[0, 0].numel())) ** 0.5)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.ones_(module.bias)
