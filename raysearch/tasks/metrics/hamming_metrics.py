"""Metrics of Hamming ranking that account for ties.

With short codes whole classes tie, so a metric that depends on how a sort breaks ties is not a property of the codes.
"expected" is the mean over all orders of tied items in closed form: McSherry and Najork, "Computing Information
Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008. "index" breaks ties by database
order, as a stable sort does. "best" and "worst" put relevant items first or last, and bound every order.

Published programs call NumPy's or torch's argsort without `stable`, so their order of ties is that of a sorting
algorithm: neither "index" nor random. Their numbers lie between "worst" and "best".

A `Ranking` is computed once. Each metric is an array over its distinct queries: `ranking.mean` averages it, and
`ranking.each` returns it by query. A query without a relevant item counts as 0. Legend: `u` distinct queries, `n`
database items, `c` bits; of a bucket of tied items, `N` items, `R` of them relevant.

>>> ranking = Ranking.from_codes([[1, 1]], [0], [[1, 1], [1, -1], [-1, 1]], [1, 0, 1])
>>> round(ranking.mean(average_precision(ranking)), 6), ranking.mean(precision_by_radius(ranking)).round(3).tolist()
(0.416667, [0.0, 0.333, 0.333])
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raysearch.models.hashing.packed import hamming
from raysearch.tasks.metrics.ranking import Integers, Ranking, blocks

TIES = ("expected", "index", "best", "worst")

Values = NDArray[np.float64]


def mean_average_precision(
    query_codes: Any, query_labels: Any, database_codes: Any, database_labels: Any, ties: str = "expected"
) -> float:
    """Return the mAP over the whole database; a query without a relevant item counts as 0.

    Args:
        query_codes: (m, c) in {-1, +1}, tensor on any device or array of any dtype.
        query_labels: (m,) integers.
        database_codes: (n, c) in {-1, +1}.
        database_labels: (n,) integers.
        ties: "expected", "index", "best" or "worst".

    Raises:
        ValueError: unknown `ties`, codes other than -1 and +1, shapes that do not fit, or no query.

    >>> round(mean_average_precision([[1, 1]], [0], [[1, 1], [1, -1], [-1, 1]], [1, 0, 1]), 6)
    0.416667
    """
    _check(ties)
    ranking = Ranking.from_codes(query_codes, query_labels, database_codes, database_labels)
    return ranking.mean(average_precision(ranking, ties))


def average_precision(ranking: Ranking, ties: str = "expected", k: int | None = None) -> Values:
    """Return the average precision (u,) over the whole database, or with `k` over the first k items.

    With `k` the sum over relevant ranks up to k is divided by min(k, relevant items), which the best list would reach.
    Public code differs. Most of it divides as `found_precision` does: a single hit at rank 1 is a perfect 1.
    Much of it leaves queries without a hit out of the mean.

    Raises:
        ValueError: unknown `ties`, or k below 1.
    """
    _check(ties)
    if k is not None and k < 1:
        raise ValueError(f"k={k} leaves no items; use 1 or more")
    cut = int(ranking.database.counts.sum()) if k is None else k
    reachable = np.minimum(_relevant_items(ranking), cut)
    return (_index_order if ties == "index" else _closed_form)(ranking, ties, cut) / np.maximum(reachable, 1)


def r_precision(ranking: Ranking) -> Values:
    """Return the share (u,) of relevant items among the first R items of a query with R of them, expected over ties."""

    def _hits(buckets: Buckets) -> Values:
        return buckets.relevant * np.clip(buckets.total - buckets.items_before, 0, buckets.items) / buckets.items

    return _sum(ranking, _hits) / np.maximum(_relevant_items(ranking), 1)


def precision_by_radius(ranking: Ranking) -> Values:
    """Return the share (u, c + 1) of relevant items among those within Hamming radius 0..c; 0 if nothing is within."""
    return ranking.relevant.cumsum(1) / np.maximum(ranking.items.cumsum(1), 1)


def recall_by_radius(ranking: Ranking) -> Values:
    """Return the share (u, c + 1) of a query's relevant items that are within Hamming radius 0..c."""
    return ranking.relevant.cumsum(1) / np.maximum(_relevant_items(ranking), 1)[:, None]


def lookup_success(ranking: Ranking, radius: int = 2) -> Values:
    """Return 1 where a hash lookup within `radius` finds a relevant item, else 0: (u,).

    The mean is the success rate of hash lookup. A lookup that finds only irrelevant items has failed;
    `lookup_nonempty` distinguishes it from an empty one.
    """
    return ranking.relevant[:, : radius + 1].sum(1).astype(bool).astype(np.float64)


def lookup_nonempty(ranking: Ranking, radius: int = 2) -> Values:
    """Return 1 where a hash lookup within `radius` finds any item, relevant or not, else 0: (u,)."""
    return ranking.items[:, : radius + 1].sum(1).astype(bool).astype(np.float64)


def _check(ties: str) -> None:
    if ties not in TIES:
        raise ValueError(f"unknown ties {ties!r}; known: {', '.join(TIES)}")


class Buckets(NamedTuple):
    """Buckets with relevant items, each an array over them."""

    items: Integers
    relevant: Integers
    items_before: Integers  # items at smaller distances
    relevant_before: Integers
    total: Integers  # relevant items of the bucket's query


def _sum(ranking: Ranking, gain: Callable[[Buckets], Values]) -> Values:
    """Return the gains of each query, summed over its buckets: (u,)."""
    size = int(ranking.database.counts.sum())
    width = ranking.bits + 1
    sums = np.empty(len(ranking.items))
    for rows in blocks(len(sums), width):
        all_items = ranking.items[rows].reshape(-1)
        all_relevant = ranking.relevant[rows].reshape(-1)
        bucket = np.flatnonzero(all_relevant > 0)
        row = bucket // width
        items = all_items[bucket].astype(np.int64)
        relevant = all_relevant[bucket].astype(np.int64)
        # One running sum goes over all rows, minus the sums of earlier rows: one sum for each row is much slower.
        items_before = all_items.cumsum(dtype=np.int64)[bucket] - items - row * size
        total = ranking.relevant[rows].sum(1, dtype=np.int64)
        relevant_before = relevant.cumsum() - relevant - (total.cumsum() - total)[row]
        buckets = Buckets(items, relevant, items_before, relevant_before, total[row])
        sums[rows] = np.bincount(row, gain(buckets), minlength=len(total))
    return sums


def _closed_form(ranking: Ranking, ties: str, cut: int) -> Values:
    """Return the sum of precisions (u,) at relevant ranks up to `cut`, bucket by bucket."""
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, ranking.database.counts.sum() + 1))])

    def _reciprocals(start: Integers, length: Integers) -> Values:
        return harmonic[start + length] - harmonic[start]

    def _expected(buckets: Buckets) -> Values:
        within = np.clip(cut - buckets.items_before, 0, buckets.items)
        return expected_precisions(buckets, within, _reciprocals(buckets.items_before, within))

    def _consecutive(buckets: Buckets) -> Values:
        # Relevant items have consecutive ranks: sum over j = 1..within of (relevant_before + j) / (start + j).
        start = buckets.items_before
        if ties == "worst":
            start = start + buckets.items - buckets.relevant
        within = np.clip(cut - start, 0, buckets.relevant)
        return within + (buckets.relevant_before - start) * _reciprocals(start, within)

    return _sum(ranking, _expected if ties == "expected" else _consecutive)


def expected_precisions(buckets: Buckets, within: Integers, span: Values) -> Values:
    """Return the expected sum of precisions at the relevant ranks among the first `within` of each bucket.

    Args:
        buckets: N items each, R of them relevant.
        within: ranks of a bucket that count, at most N.
        span: the sum of 1 / rank over them, with ranks counted in the whole list.
    """
    # A rank of the bucket is relevant with probability R/N, and then each rank before it with (R-1)/(N-1).
    growth = (buckets.relevant - 1) / np.maximum(buckets.items - 1, 1)
    first = (buckets.relevant_before + 1) * span
    later = growth * (within - (buckets.items_before + 1) * span)
    return buckets.relevant / np.maximum(buckets.items, 1) * (first + later)


def _index_order(ranking: Ranking, ties: str, cut: int) -> Values:
    """Return the sum of precisions (u,) at relevant ranks up to `cut`, with ties in database order."""
    queries = ranking.queries
    pairs = ranking.database.pairs
    codes = pairs.codes[pairs.inverse]
    classes = pairs.classes[pairs.inverse]
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
