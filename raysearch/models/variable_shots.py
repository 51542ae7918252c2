"""Classes with different numbers of shots, for heads whose episodes have equally many shots per class.

In evaluation, the logit of a class depends only on the query and on the class's own supports, with every head of
`raysearch.models.fewshot_heads`. So classes with the same number of shots are compared together, as one episode, and
the logits are those that the classes have in any episode. Whatever a method averages over shots it averages over the
shots that a class has: nearest centroids and the relation head average features, HelixFormer (arXiv 2207.00784) scores,
LWFM-SPM (arXiv 2411.06363) embeddings and matched similarities.

Legend: `W` classes, `K` shots of one class, `N` queries, `C` channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raysearch.models.fewshot import Maps

# Of a query and a support. At 84 px, Conv-4's maps of this many pairs take 30 MB, and the layers make about 20 copies.
PAIRS = 256


@torch.no_grad()
def class_logits(head: nn.Module, supports: Sequence[Maps], query: Maps, pairs_at_once: int = PAIRS) -> Tensor:
    """Compute the logits of queries among classes with any numbers of shots.

    The memory grows with neither the number of queries nor the number of classes.

    Args:
        head: see `raysearch.models.fewshot.FewShotHead`; in eval mode.
        supports: maps of each class: (K, C, h, w) per tap.
        query: (N, C, h, w) per tap.
        pairs_at_once: pairs of a query and a support to compare at a time, but at least those of one class.

    Returns:
        (N, W) float32 or wider, in the order of the classes.

    Raises:
        ValueError: the head is in training mode, or a class has no support.

    >>> from raysearch.models.fewshot_heads import CentroidHead
    >>> supports = [[torch.zeros(1, 2, 1, 1)], [torch.tensor([[1.0, 0.0], [3.0, 0.0]]).view(2, 2, 1, 1)]]
    >>> class_logits(CentroidHead().eval(), supports, [torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)])
    tensor([[-5., -1.]])
    """
    if head.training:
        raise ValueError("class_logits needs a head in eval mode: in training mode, batch norm depends on all classes")
    classes_by_shots: dict[int, list[int]] = {}
    for index, maps in enumerate(supports):
        classes_by_shots.setdefault(len(maps[0]), []).append(index)
    if 0 in classes_by_shots:
        raise ValueError(f"class {classes_by_shots[0][0]} has no support")
    order: list[int] = []
    columns: list[Tensor] = []
    for shots, classes in classes_by_shots.items():
        ways = max(1, pairs_at_once // shots)
        for start in range(0, len(classes), ways):
            chunk = classes[start : start + ways]
            support = [torch.stack(tap)[None] for tap in zip(*(supports[index] for index in chunk), strict=True)]
            columns.append(_episode_logits(head, support, query, max(1, pairs_at_once // (len(chunk) * shots))))
            order += chunk
    return torch.cat(columns, dim=1)[:, torch.tensor(order).argsort()]


def _episode_logits(head: nn.Module, support: Maps, query: Maps, queries_at_once: int) -> Tensor:
    """Return the logits (N, W) of supports (1, W, K, C, h, w)."""
    chunks = zip(*(tap.split(queries_at_once) for tap in query), strict=True)
    return torch.cat([head(support, [tap[None] for tap in chunk]).logits[0] for chunk in chunks])
