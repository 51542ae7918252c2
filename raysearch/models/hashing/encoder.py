"""What the encoders of shallow hashing share: features in, signs out, all state in buffers.

Everything is computed in float64, in blocks of rows: memory does not grow with the number of images, and a sign next to
zero depends neither on the block nor on the number of threads.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

_ROWS = 4096  # 64 MB of float64 at 2,048 channels


class Encoder(nn.Module):
    """`encoder(features (n, d)) -> codes (n, c)` in {-1, +1}, float32, on the features' device; 0 counts as +1.

    A subclass registers what it learned as buffers, named as the arguments of its constructor, and defines `scores`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels  # d

    def scores(self, rows: Tensor) -> Tensor:
        """Real numbers (b, c) of a block of features (b, d), both float64; their signs are the code."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Encode.

        Raises:
            ValueError: features of another shape than those learned from, or not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.channels:
            raise ValueError(f"this encoder takes features (n, {self.channels}), got {tuple(features.shape)}")
        return torch.cat([signs(self.scores(rows)).float() for rows in blocks(features)])


def blocks(features: Tensor) -> Iterator[Tensor]:
    """The rows (n, d) as float64, a few thousand at a time.

    Raises:
        ValueError: values that are not finite.
    """
    for rows in features.split(_ROWS):
        if not rows.isfinite().all():
            raise ValueError("features hold values that are not finite")
        yield rows.double()


def signs(values: Tensor) -> Tensor:
    """-1 below zero, +1 elsewhere.

    >>> signs(torch.tensor([-2.0, 0.0, 3.0]))
    tensor([-1.,  1.,  1.])
    """
    return torch.where(values < 0, -1.0, 1.0).to(values.dtype)
