"""Figures of Hamming ranking, with ties treated as what they are.

Short codes tie by whole classes, so a figure that depends on how a sort breaks ties is not a property of the codes.
"expected" is the mean over all orders of tied items in closed form: McSherry and Najork, "Computing Information
Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008. "index" breaks ties by database
order, as published code mostly does; "best" and "worst" put relevant items first or last and bracket every order.

A `Ranking` is made once, and each figure is an array over its distinct queries: `ranking.mean` makes the figure of it,
`ranking.each` gives it by query. A query without a relevant item counts, as 0. Legend: `u` distinct queries, `n`
database items, `c` bits; of a bucket of tied items, `N` items, `R` of them relevant.

>>> ranking = Ranking.of([[1, 1]], [0], [[1, 1], [1, -1], [-1, 1]], [1, 0, 1])
>>> round(ranking.mean(average_precision(ranking)), 6), ranking.mean(precision_by_radius(ranking)).round(3).tolist()
(0.416667, [0.0, 0.333, 0.333])
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raysearch.models.hashing.packed import hamming
from raysearch.tasks.metrics.distinct_codes import Integers
from raysearch.tasks.metrics.ranking import Ranking, blocks

TIES = ("expected", "index", "best", "worst")

Values = NDArray[np.float64]


def mean_average_precision(
    query_codes: Any, query_labels: Any, database_codes: Any, database_labels: Any, ties: str = "expected"
) -> float:
    """mAP over the whole database; a query without a relevant item counts as 0.

    Args:
        query_codes: (m, c) in {-1, +1}, tensor on any device or array of any dtype.
        query_labels: (m,) integers.
        database_codes: (n, c) in {-1, +1}.
        database_labels: (n,) integers.
        ties: "expected", "index", "best" or "worst".

    Raises:
        ValueError: unknown `ties`, codes that are not -1 and +1, shapes that do not fit, or no query.

    >>> round(mean_average_precision([[1, 1]], [0], [[1, 1], [1, -1], [-1, 1]], [1, 0, 1]), 6)
    0.416667
    """
    _check(ties)
    ranking = Ranking.of(query_codes, query_labels, database_codes, database_labels)
    return ranking.mean(average_precision(ranking, ties))


def average_precision(ranking: Ranking, ties: str = "expected", k: int | None = None) -> Values:
    """Average precision (u,) over the whole database, or with `k` over the first k items.

    With `k` the sum over relevant ranks up to k is divided by min(k, relevant items), what the best list would reach.
    Public code differs: most of it divides by the relevant items found among the first k, so that one hit at rank 1
    and nothing after it is a perfect 1, and much of it leaves queries without a hit out of the mean.

    Raises:
        ValueError: unknown `ties`, or k below 1.
    """
    _check(ties)
    if k is not None and k < 1:
        raise ValueError(f"the first {k} items are none; k is 1 or more")
    cut = int(ranking.database.counts.sum()) if k is None else k
    reachable = np.minimum(_relevant_items(ranking), cut)
    return (_index_order if ties == "index" else _closed_form)(ranking, ties, cut) / np.maximum(reachable, 1)


def r_precision(ranking: Ranking) -> Values:
    """Share (u,) of relevant items among the first R of a query that has R of them, expected over ties."""

    def hits(of: _Buckets) -> Values:
        return of.relevant * np.clip(of.total - of.items_before, 0, of.items) / of.items

    return _sum(ranking, hits) / np.maximum(_relevant_items(ranking), 1)


def precision_by_radius(ranking: Ranking) -> Values:
    """Share (u, c + 1) of relevant items among those within Hamming radius 0..c; 0 where nothing is within it."""
    return ranking.relevant.cumsum(1) / np.maximum(ranking.items.cumsum(1), 1)


def recall_by_radius(ranking: Ranking) -> Values:
    """Share (u, c + 1) of a query's relevant items that are within Hamming radius 0..c."""
    return ranking.relevant.cumsum(1) / np.maximum(_relevant_items(ranking), 1)[:, None]


def lookup_success(ranking: Ranking, radius: int = 2) -> Values:
    """1 where a hash lookup within `radius` finds a relevant item, else 0: (u,).

    The mean is the success rate of hash lookup. What is counted is a true neighbour; a lookup that finds only others
    has failed, and is told from an empty one by `lookup_nonempty`.
    """
    return ranking.relevant[:, : radius + 1].sum(1).astype(bool).astype(np.float64)


def lookup_nonempty(ranking: Ranking, radius: int = 2) -> Values:
    """1 where a hash lookup within `radius` finds any item, relevant or not, else 0: (u,)."""
    return ranking.items[:, : radius + 1].sum(1).astype(bool).astype(np.float64)


def _check(ties: str) -> None:
    if ties not in TIES:
        raise ValueError(f"unknown ties {ties!r}; known: {', '.join(TIES)}")


class _Buckets(NamedTuple):
    """Buckets with relevant items, each an array over them."""

    items: Integers
    relevant: Integers
    items_before: Integers  # how many lie nearer
    relevant_before: Integers
    total: Integers  # relevant items of the bucket's query


def _sum(ranking: Ranking, gain: Callable[[_Buckets], Values]) -> Values:
    """A query's gains summed over its buckets: (u,)."""
    size, width = int(ranking.database.counts.sum()), ranking.bits + 1
    sums = np.empty(len(ranking.items))
    for rows in blocks(len(sums), width):
        all_items, all_relevant = ranking.items[rows].reshape(-1), ranking.relevant[rows].reshape(-1)
        cell = np.flatnonzero(all_relevant > 0)
        row = cell // width
        items, relevant = all_items[cell].astype(np.int64), all_relevant[cell].astype(np.int64)
        # Running sums go over the rows end to end, less what the rows before hold: one for each row is much slower.
        items_before = all_items.cumsum(dtype=np.int64)[cell] - items - row * size
        total = ranking.relevant[rows].sum(1, dtype=np.int64)
        relevant_before = relevant.cumsum() - relevant - (total.cumsum() - total)[row]
        of = _Buckets(items, relevant, items_before, relevant_before, total[row])
        sums[rows] = np.bincount(row, gain(of), minlength=len(total))
    return sums


def _closed_form(ranking: Ranking, ties: str, cut: int) -> Values:
    """Sum of precisions (u,) at relevant ranks up to `cut`, bucket by bucket."""
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, ranking.database.counts.sum() + 1))])

    def reciprocals(start: Integers, length: Integers) -> Values:
        return harmonic[start + length] - harmonic[start]

    def expected(of: _Buckets) -> Values:
        # A place of the bucket is relevant with R/N, and then each place before it with (R-1)/(N-1).
        within = np.clip(cut - of.items_before, 0, of.items)
        span = reciprocals(of.items_before, within)
        growth = (of.relevant - 1) / np.maximum(of.items - 1, 1)
        first = (of.relevant_before + 1) * span
        return of.relevant / of.items * (first + growth * (within - (of.items_before + 1) * span))

    def in_a_row(of: _Buckets) -> Values:
        # Relevant items occupy consecutive ranks: sum over j = 1..within of (relevant_before + j) / (start + j).
        start = of.items_before if ties == "best" else of.items_before + of.items - of.relevant
        within = np.clip(cut - start, 0, of.relevant)
        return within + (of.relevant_before - start) * reciprocals(start, within)

    return _sum(ranking, expected if ties == "expected" else in_a_row)


def _index_order(ranking: Ranking, ties: str, cut: int) -> Values:
    """Sum of precisions (u,) at relevant ranks up to `cut`, with ties in database order."""
    queries, pairs = ranking.queries, ranking.database.pairs
    codes, classes = pairs.codes[pairs.of_item], pairs.classes[pairs.of_item]
    sums = np.empty(len(queries.codes))
    for rows in blocks(len(sums), len(codes)):
        # Distances are 8 or 16 bits wide: their stable sort is a radix sort.
        order = np.argsort(hamming(queries.codes[rows, None], codes), axis=1, kind="stable")[:, :cut]
        row, rank = np.nonzero(classes[order] == queries.classes[rows, None])
        first = np.searchsorted(row, np.arange(len(order)))
        hit = np.arange(1, len(row) + 1) - first[row]
        sums[rows] = np.bincount(row, hit / (rank + 1), minlength=len(order))
    return sums


def _relevant_items(ranking: Ranking) -> Integers:
    return ranking.relevant.sum(1, dtype=np.int64)
