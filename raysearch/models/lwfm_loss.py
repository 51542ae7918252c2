"""The loss of LWFM-SPM, arXiv 2411.06363: the classes of an episode, and twice the classes of the whole training set.

Instead of pre-training on the base classes, two cross-entropies over them are added: of the episode's queries as the
metric embedded them, and of an ordinary shuffled batch. Both go through one linear layer fc:

    weight * CE(logits of the episode) + CE(fc(mean embedding of a query)) + CE(fc(mean over pixels of an image))

The embedding of a query is `MetricOutput.query` of `raysearch.models.lwfm`, which comes from centered features; those
of the ordinary batch are not centered.

Legend: `E` episodes, `N` queries, `W` ways, `B` images of the ordinary batch, `M` base classes.
"""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from raysearch.models.precision import at_least_single, full_precision


class Classified(NamedTuple):
    """Scores of images and their true classes, with the same leading dimensions."""

    scores: Tensor  # (..., classes)
    labels: Tensor  # (...) int64


class LwfmLosses(NamedTuple):
    """The loss and its terms, each a mean over its images; scalars, float32 or wider."""

    loss: Tensor
    episode: Tensor  # before its weight
    queries: Tensor
    batch: Tensor


def lwfm_loss(episode: Classified, queries: Classified, batch: Classified, weight: float) -> LwfmLosses:
    """Compute the three terms and their weighted sum.

    Args:
        episode: logits (E, N, W) and ways (E, N).
        queries: fc of their embeddings (E, N, M), and base classes (E, N).
        batch: fc of an ordinary batch (B, M), and base classes (B,).
        weight: the weight of the episode's term.

    Returns:
        See `LwfmLosses`. All scores get a gradient.

    >>> import torch
    >>> episode = Classified(torch.zeros(1, 6, 5), torch.zeros(1, 6, dtype=torch.int64))
    >>> queries = Classified(torch.zeros(1, 6, 64), torch.zeros(1, 6, dtype=torch.int64))
    >>> batch = Classified(torch.zeros(8, 64), torch.zeros(8, dtype=torch.int64))
    >>> lwfm_loss(episode, queries, batch, weight=0.25).loss  # log(5) / 4 + 2 log(64)
    tensor(8.7201)
    """
    terms = [_cross_entropy(*episode), _cross_entropy(*queries), _cross_entropy(*batch)]
    return LwfmLosses(weight * terms[0] + terms[1] + terms[2], *terms)


@full_precision
def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(at_least_single(scores).flatten(0, -2), labels.flatten())
