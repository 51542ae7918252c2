"""HelixFormer's cross-image attention (arXiv 2207.00784, figure 2): where one image of a pair looks in the other.

In relation mining every position of an image asks, and the positions of the other image share out its attention, a
whole of one for each head. `received` tells how much of all of it a position gets; `from_marks` follows a handful of
positions that ask, the same for every image, so that none is chosen for its looks.

Departure: heads are averaged. Nothing is rescaled: an even share is 1 / (h w), and what is drawn brighter is more.

Legend: `C` channels, `H x W` positions that ask, `h x w` positions that answer.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raysearch.models.helix.attention_maps import attention_maps
from raysearch.models.helix.direction import SideName
from raysearch.models.helixformer import HelixFormer

MARKS = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))  # shares of height and width


@dataclass(frozen=True)
class Looks:
    """How one side of a pair, which is changed by what it finds, looks at the other."""

    asking: SideName
    received: np.ndarray  # (h, w) of the other image, the mean over all that ask; sums to 1
    marks: tuple[tuple[float, float], ...]  # the centres of marked positions, shares of height and width
    from_marks: np.ndarray  # (marks, h, w) of the other image; each sums to 1

    @property
    def peak(self) -> float:
        """The most that a position receives, in even shares."""
        return float(self.received.max() * self.received.size)


def looks(helix: HelixFormer, support: Tensor, query: Tensor, layer: int = 0) -> tuple[Looks, ...]:
    """Both directions of a pair, or those that the design has; none without relation mining.

    Args:
        helix: in eval mode.
        support: (C, H, W).
        query: likewise.
        layer: from 0.

    >>> both = looks(HelixFormer(8, heads=2).eval(), torch.randn(8, 4, 4), torch.randn(8, 4, 4))
    >>> [(one.asking, one.received.shape, one.from_marks.shape) for one in both]
    [('support', (4, 4), (5, 4, 4)), ('query', (4, 4), (5, 4, 4))]
    """
    found = attention_maps(helix, support, query, layer) if len(helix.layers) else {}
    return tuple(_looks(side, attention.mean(0).double().cpu().numpy()) for side, attention in found.items())


def helix_of(comparer: torch.nn.Module) -> HelixFormer | None:
    """The HelixFormer in a comparer, where there is one."""
    helix = getattr(comparer, "helix", None)
    return helix if isinstance(helix, HelixFormer) else None


def _looks(asking: SideName, attention: np.ndarray) -> Looks:
    """Of attention (H, W, h, w)."""
    height, width = attention.shape[:2]
    places = [(int(down * height), int(across * width)) for down, across in MARKS]
    centres = tuple(((row + 0.5) / height, (column + 0.5) / width) for row, column in places)
    return Looks(asking, attention.mean((0, 1)), centres, np.stack([attention[place] for place in places]))
