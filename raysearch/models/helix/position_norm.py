"""Layer norm over the channels of each position, as HelixFormer (arXiv 2207.00784) has it in its released program.

The small number that keeps a constant position finite is added to the deviation, not to the variance.
Departure: the deviation is sqrt(variance + 1e-12), since the slope of a root is infinite at zero.
"""

import torch
from torch import Tensor, nn

from raysearch.models.precision import at_least_single

EPSILON = 1e-5  # added to the deviation
TINY = 1e-12  # added to the variance


class PositionNorm(nn.Module):
    """(..., C) -> (..., C), in float32 or wider inside an autocast region too.

    >>> PositionNorm(2)(torch.tensor([[3.0, 5.0], [4.0, 4.0]]))
    tensor([[-1.0000,  1.0000],
            [ 0.0000,  0.0000]], grad_fn=<AddcmulBackward0>)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = at_least_single(tokens)
        # torch.var_mean takes several times as long over a short last dimension.
        centred = tokens - tokens.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + TINY).sqrt()
        return torch.addcmul(self.bias, centred / (deviation + EPSILON), self.weight)
