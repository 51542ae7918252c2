"""Scores of all pairs of an episode, in memory that does not grow with the number of pairs.

Whatever depends on one image alone is computed once. Pairs go through HelixFormer and the head some at a time.
"""

import torch
from torch import Tensor, nn

from raysearch.models.helix.shot_pairs import Arrange, every_support
from raysearch.models.helixformer import HelixFormer


@torch.no_grad()
def relation_scores(
    helix: HelixFormer,
    head: nn.Module,
    support: Tensor,
    query: Tensor,
    chunk: int = 25,
    arrange: Arrange = every_support,
    shots: int = 1,
) -> Tensor:
    """Compute `head(*helix.pairs(support, query))` for networks in eval mode.

    Args:
        helix: in eval mode, as batch norm in training needs all pairs at once.
        head: a `RelationHead` or `CosineHead`, in eval mode.
        support: (E,S,C,H,W), or (S,C,H,W).
        query: (E,Q,C,H,W), or (Q,C,H,W).
        chunk: pairs at a time, but at least those of one query. Several episodes that fit are scored together.
        arrange: which maps the head compares.
        shots: supports of a class, which `arrange` needs.

    Returns:
        (E,Q,S) or (Q,S) scores.

    Raises:
        ValueError: a network in training mode.

    >>> from raysearch.models.relation import CosineHead
    >>> helix, support, query = HelixFormer(8).eval(), torch.randn(5, 8, 4, 4), torch.randn(7, 8, 4, 4)
    >>> relation_scores(helix, CosineHead().eval(), support, query).shape
    torch.Size([7, 5])
    """
    if helix.training or head.training:
        raise ValueError("scores in chunks need eval mode: in training mode, batch norm needs all pairs at once")
    if support.ndim == 4:
        return relation_scores(helix, head, support[None], query[None], chunk, arrange, shots)[0]
    at_once = chunk // (support.shape[1] * query.shape[1])
    if at_once > 1 and len(support) > 1:
        groups = zip(support.split(at_once), query.split(at_once), strict=True)
        return torch.cat([head(*arrange(*helix.pairs(*images), shots)) for images in groups])
    episodes = zip(support, query, strict=True)
    return torch.stack([_episode_scores(helix, head, *images, chunk, arrange, shots) for images in episodes])


def _episode_scores(
    helix: HelixFormer, head: nn.Module, support: Tensor, query: Tensor, chunk: int, arrange: Arrange, shots: int
) -> Tensor:
    support_side = helix.prepare("support", support[None])
    query_side = helix.prepare("query", query[None])
    queries_at_once = max(1, chunk // len(support))
    starts = range(0, len(query), queries_at_once)
    query_parts = (query_side.slice_queries(start, start + queries_at_once) for start in starts)
    return torch.cat([head(*arrange(*helix.relate(support_side, part), shots))[0] for part in query_parts])
