"""What the encoders of shallow hashing share: features in, signs out, all state in buffers; principal directions.

Everything is computed in float64, in blocks of rows. So memory does not grow with the number of images, and a sign near
zero depends neither on the block nor on the number of threads.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

_ROWS = 4096  # 64 MB of float64 at 2,048 channels


class Encoder(nn.Module):
    """Encodes features (n, d) to codes (n, c) in {-1, +1}, float32, on the features' device; 0 counts as +1.

    A subclass registers its learned values as buffers, named like the arguments of its constructor, and defines
    `scores`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels  # d

    def scores(self, rows: Tensor) -> Tensor:
        """Return real numbers (b, c) for a block of features (b, d), both float64; their signs are the code."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Encode features (n, d).

        Raises:
            ValueError: features of another shape than those of the fit, or not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.channels:
            raise ValueError(f"this encoder takes features (n, {self.channels}), got {tuple(features.shape)}")
        return torch.cat([signs(self.scores(rows)).float() for rows in blocks(features)])


def blocks(features: Tensor) -> Iterator[Tensor]:
    """Yield the rows (n, d) as float64, a few thousand at a time.

    Raises:
        ValueError: values that are not finite.
    """
    for rows in features.split(_ROWS):
        if not rows.isfinite().all():
            raise ValueError("features hold values that are not finite")
        yield rows.double()


def signs(values: Tensor) -> Tensor:
    """Return -1 below zero and +1 elsewhere.

    >>> signs(torch.tensor([-2.0, 0.0, 3.0]))
    tensor([-1.,  1.,  1.])
    """
    return torch.where(values < 0, -1.0, 1.0).to(values.dtype)


def principal_directions(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the mean and the directions of largest variance, from one d x d scatter matrix.

    They are the same on every platform as far as the features determine them.

    Args:
        features: (n, d).
        count: number of directions, at most d.

    Returns:
        (d,) mean and (d, count) orthonormal directions, by falling variance, float64. The largest entry of a direction
        is positive; otherwise the library would choose its sign.

    >>> mean, directions = principal_directions(torch.tensor([[1.0, 2.0], [1.0, 6.0]]), count=1)
    >>> mean.tolist(), directions.flatten().tolist()
    ([1.0, 4.0], [0.0, 1.0])
    """
    mean = mean_of(features)
    scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=features.device)
    for rows in blocks(features):
        centered = rows - mean
        scatter += centered.T @ centered
    _, vectors = torch.linalg.eigh(scatter)  # by rising variance
    directions = vectors.flip(1)[:, :count]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return mean, (directions * largest.sign()).contiguous()


def mean_of(features: Tensor) -> Tensor:
    """Return the mean over rows: (n, d) to (d,) float64."""
    return torch.stack([rows.sum(0) for rows in blocks(features)]).sum(0) / len(features)
