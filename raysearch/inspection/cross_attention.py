"""Cross-image attention of HelixFormer (arXiv 2207.00784, figure 2): the places where one image attends to the other.

In relation mining every position of one image, the source, distributes its attention over the positions of the other
image, the target. The attention of a source position sums to 1 for each head. `received` is the mean attention that
each target position receives. `from_marks` follows five source positions, the same in every image, so that none is
chosen for its looks.

Departure: heads are averaged. Values are not rescaled: uniform attention is 1 / (h w), and brighter means more.

Legend: `C` channels, `H x W` source positions, `h x w` target positions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raysearch.models.helix.attention_maps import attention_maps
from raysearch.models.helix.direction import SideName
from raysearch.models.helixformer import HelixFormer

MARKS = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))  # fractions of height and width


@dataclass(frozen=True)
class CrossAttention:
    """The attention of one side of a pair, the source, to the other."""

    source: SideName
    received: np.ndarray  # (h, w) of the target, the mean over source positions; sums to 1
    marks: tuple[tuple[float, float], ...]  # centers of the marked source positions, fractions of height and width
    from_marks: np.ndarray  # (marks, h, w) of the target; each map sums to 1

    @property
    def peak(self) -> float:
        """The largest attention that a position receives, as a multiple of uniform attention."""
        return float(self.received.max() * self.received.size)


def pair_attention(helix: HelixFormer, support: Tensor, query: Tensor, layer: int = 0) -> tuple[CrossAttention, ...]:
    """Compute the attention of a pair in each direction that the design has; none without relation mining.

    Args:
        helix: in eval mode.
        support: features (C, H, W).
        query: features (C, H, W).
        layer: index, from 0.

    >>> both = pair_attention(HelixFormer(8, heads=2).eval(), torch.randn(8, 4, 4), torch.randn(8, 4, 4))
    >>> [(direction.source, direction.received.shape, direction.from_marks.shape) for direction in both]
    [('support', (4, 4), (5, 4, 4)), ('query', (4, 4), (5, 4, 4))]
    """
    maps = attention_maps(helix, support, query, layer) if len(helix.layers) else {}
    return tuple(_summarize(side, attention.mean(0).double().cpu().numpy()) for side, attention in maps.items())


def find_helix(head: torch.nn.Module) -> HelixFormer | None:
    """Return the HelixFormer inside a few-shot head; None if there is none."""
    helix = getattr(head, "helix", None)
    return helix if isinstance(helix, HelixFormer) else None


def _summarize(source: SideName, attention: np.ndarray) -> CrossAttention:
    """Summarize attention (H, W, h, w)."""
    height, width = attention.shape[:2]
    positions = [(int(down * height), int(across * width)) for down, across in MARKS]
    centers = tuple(((row + 0.5) / height, (column + 0.5) / width) for row, column in positions)
    from_marks = np.stack([attention[position] for position in positions])
    return CrossAttention(source, attention.mean((0, 1)), centers, from_marks)
