"""Mean average precision of Hamming ranking, with ties treated as what they are.

Short codes tie by whole classes, so a figure that depends on how a sort breaks ties is not a property of the codes.
"expected" is the mean over all orders of tied items in closed form: McSherry and Najork, "Computing Information
Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008. "index" breaks ties by database
order, as published code mostly does; "best" and "worst" put relevant items first or last and bracket every order.
Legend: `m` queries, `n` database items, `c` bits.
"""

from typing import Any

import torch
from torch import Tensor

TIES = ("expected", "index", "best", "worst")
_CHUNK = 1 << 24  # distances held at a time


def mean_average_precision(
    query_codes: Any, query_labels: Any, database_codes: Any, database_labels: Any, ties: str = "expected"
) -> float:
    """mAP over the whole database; a query without a relevant item counts as 0.

    Args:
        query_codes: (m, c) in {-1, +1}, tensor or array of any dtype.
        query_labels: (m,) integers.
        database_codes: (n, c) in {-1, +1}.
        database_labels: (n,) integers.
        ties: "expected", "index", "best" or "worst".

    Raises:
        ValueError: unknown `ties`, or shapes that do not fit.

    >>> code = lambda *rows: torch.tensor(rows)
    >>> query, database = code([1, 1]), code([1, 1], [1, -1], [-1, 1])
    >>> round(mean_average_precision(query, [0], database, [1, 0, 1]), 6)
    0.416667
    """
    if ties not in TIES:
        raise ValueError(f"unknown ties {ties!r}; known: {', '.join(TIES)}")
    queries, database = (torch.as_tensor(codes).float() for codes in (query_codes, database_codes))
    labels_q, labels_d = (torch.as_tensor(labels).long() for labels in (query_labels, database_labels))
    if queries.dim() != 2 or database.dim() != 2 or queries.shape[1] != database.shape[1]:
        raise ValueError(f"codes of shapes {tuple(queries.shape)} and {tuple(database.shape)} cannot be compared")
    if labels_q.shape != queries.shape[:1] or labels_d.shape != database.shape[:1]:
        raise ValueError("each code needs one label")
    total = 0.0
    for start in range(0, len(queries), max(1, _CHUNK // len(database))):
        rows = slice(start, start + max(1, _CHUNK // len(database)))
        distance = ((queries.shape[1] - queries[rows] @ database.T) / 2).round().long()
        relevant = labels_q[rows, None] == labels_d[None]
        precision = _index_order if ties == "index" else _bucketed
        total += float(precision(distance, relevant, queries.shape[1], ties).sum())
    return total / len(queries)


def _index_order(distance: Tensor, relevant: Tensor, bits: int, ties: str) -> Tensor:
    """Average precision (m,) with ties in database order."""
    hits = relevant.gather(1, distance.sort(dim=1, stable=True).indices).double()
    rank = torch.arange(1, hits.shape[1] + 1, device=hits.device)
    return (hits * hits.cumsum(1) / rank).sum(1) / hits.sum(1).clamp(min=1)


def _bucketed(distance: Tensor, relevant: Tensor, bits: int, ties: str) -> Tensor:
    """Average precision (m,) from two histograms a query: items and relevant items at each distance."""
    counts = torch.zeros(len(distance), bits + 1, dtype=torch.float64, device=distance.device)
    items = counts.scatter_add(1, distance, torch.ones_like(distance, dtype=torch.float64))
    hits = counts.scatter_add(1, distance, relevant.double())
    items_before, hits_before = items.cumsum(1) - items, hits.cumsum(1) - hits
    harmonic = _harmonic_numbers(distance.shape[1], distance.device)

    def reciprocals(start: Tensor, length: Tensor) -> Tensor:
        return harmonic[(start + length).long()] - harmonic[start.long()]

    if ties == "expected":
        span = reciprocals(items_before, items)
        growth = (hits - 1) / (items - 1).clamp(min=1)
        gain = hits / items.clamp(min=1) * ((hits_before + 1) * span + growth * (items - (items_before + 1) * span))
    else:
        # Relevant items occupy consecutive ranks: sum over k = 1..hits of (hits_before + k) / (start + k).
        start = items_before if ties == "best" else items_before + items - hits
        gain = hits + (hits_before - start) * reciprocals(start, hits)
    return torch.where(hits > 0, gain, 0.0).sum(1) / hits.sum(1).clamp(min=1)


def _harmonic_numbers(n: int, device: torch.device) -> Tensor:
    """H(0..n) as (n + 1,) doubles."""
    steps = 1.0 / torch.arange(1, n + 1, dtype=torch.float64, device=device)
    return torch.cat([steps.new_zeros(1), steps.cumsum(0)])
