"""Classes with different numbers of shots, for comparers whose episodes have as many of each.

In evaluation the logit of a class depends on the query and on the class's own supports alone, in every comparer of
`raysearch.models.fewshot`. So classes with as many shots are compared together, as an episode of their own, and a logit
is the one that the class has in any episode. What a method averages over shots it averages over those that a class has:
nearest centroids and the relation head features, HelixFormer (arXiv 2207.00784) scores, LWFM-SPM (arXiv 2411.06363)
the embedding and the matched similarities.

Legend: `W` classes, `K` shots of one of them, `N` queries, `C` channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raysearch.models.fewshot import Maps

PAIRS = 256  # of a query and a support: at 84 px Conv-4's maps of as many take 30 MB, and layers make a score of copies


@torch.no_grad()
def class_logits(comparer: nn.Module, supports: Sequence[Maps], query: Maps, pairs_at_once: int = PAIRS) -> Tensor:
    """Logits of queries among classes of any number of shots, in memory that grows with neither queries nor classes.

    Args:
        comparer: see `raysearch.models.fewshot.FewShotHead`; in eval mode.
        supports: maps of each class: (K, C, h, w) a tap.
        query: (N, C, h, w) a tap.
        pairs_at_once: pairs of a query and a support that are compared at a time, but no fewer than one class has.

    Returns:
        (N, W) float32 or wider, in the order of the classes.

    Raises:
        ValueError: a comparer in training mode, or a class without a support.

    >>> from raysearch.models.fewshot_heads import CentroidHead
    >>> supports = [[torch.zeros(1, 2, 1, 1)], [torch.tensor([[1.0, 0.0], [3.0, 0.0]]).view(2, 2, 1, 1)]]
    >>> class_logits(CentroidHead().eval(), supports, [torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)])
    tensor([[-5., -1.]])
    """
    if comparer.training:
        raise ValueError("classes are compared apart in eval mode alone; in training mode batch norm sees all of them")
    alike: dict[int, list[int]] = {}  # shots -> classes
    for index, maps in enumerate(supports):
        alike.setdefault(len(maps[0]), []).append(index)
    if 0 in alike:
        raise ValueError(f"class {alike[0][0]} has no support")
    order: list[int] = []
    columns: list[Tensor] = []
    for shots, classes in alike.items():
        ways = max(1, pairs_at_once // shots)
        for few in (classes[at : at + ways] for at in range(0, len(classes), ways)):
            support = [torch.stack(tap)[None] for tap in zip(*(supports[index] for index in few), strict=True)]
            columns.append(_rectangular(comparer, support, query, max(1, pairs_at_once // (len(few) * shots))))
            order += few
    return torch.cat(columns, dim=1)[:, torch.tensor(order).argsort()]


def _rectangular(comparer: nn.Module, support: Maps, query: Maps, at_once: int) -> Tensor:
    """Logits (N, W) of supports (1, W, K, C, h, w), `at_once` queries at a time."""
    chunks = zip(*(tap.split(at_once) for tap in query), strict=True)
    return torch.cat([comparer(support, [tap[None] for tap in chunk]).logits[0] for chunk in chunks])
