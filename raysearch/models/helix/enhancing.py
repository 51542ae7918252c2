"""Representation enhancement process (REP) of HelixFormer, arXiv 2207.00784, figure 2: a network at each position.

f + FFN(norm(f)) with FFN two 1 x 1 convolutions and GELU between them.
"""

from torch import Tensor, nn

from raysearch.models.helix.pointwise import Pointwise
from raysearch.models.helix.position_norm import PositionNorm


class RepresentationEnhancement(nn.Module):
    """(..., H, W, C) -> (..., H, W, C).

    >>> import torch
    >>> RepresentationEnhancement(6, ratio=4, dropout=0.0)(torch.zeros(2, 3, 3, 6)).shape
    torch.Size([2, 3, 3, 6])
    """

    def __init__(self, channels: int, ratio: int, dropout: float) -> None:
        super().__init__()
        self.norm = PositionNorm(channels)
        self.network = nn.Sequential(
            Pointwise(channels, ratio * channels),
            nn.GELU(),
            nn.Dropout(dropout),
            Pointwise(ratio * channels, channels),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.network(self.norm(tokens))
