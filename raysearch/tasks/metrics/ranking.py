"""A database ranked by Hamming distance for each query, stored as two histograms per query.

Items with equal codes are merged first: training leaves about one code per class, so thousands of codes become
hundreds. Everything is sorted by class and code, so that results do not depend on the order of the items.

The number of items and of relevant items at each distance decides every metric of Hamming ranking that does not depend
on how a sort breaks ties. Legend: `n` database items, `u` distinct pairs of a code and a class, `e` distinct codes, `K`
classes, `m` queries, `c` bits, `W` words of a packed code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from raysearch.models.hashing.packed import Words, hamming, pack

Integers = NDArray[np.int64]
Histograms = NDArray[np.int32]
# Number of distances in memory at a time. It is one below the size from which torch's reductions start threads, which
# cost more than they save for work of 10 microseconds.
BLOCK = (1 << 15) - 1


@dataclass(frozen=True, eq=False)
class UniqueCodes:
    """Items with the same code and class, merged."""

    codes: Words  # (u, W)
    classes: Integers  # (u,), ascending
    counts: Integers  # (u,), items of each pair
    inverse: Integers  # (n,), pair of each item

    @classmethod
    def from_codes(cls, codes: Words, classes: Integers) -> Self:
        """Merge items with codes (n, W) and classes (n,) in 0..K-1."""
        ids = _code_ids(codes)
        pairs = classes * (ids.max(initial=0) + 1) + ids
        _, first, inverse, counts = np.unique(pairs, return_index=True, return_inverse=True, return_counts=True)
        return cls(codes[first], classes[first], counts, inverse)

    def share(self, rank: int, world_size: int) -> Self:
        """Return every `world_size`-th pair from the `rank`-th on, with its items, in the same order.

        >>> queries = UniqueCodes.from_codes(np.array([[7], [5], [7], [3]], np.uint64), np.array([0, 0, 0, 1]))
        >>> queries.share(1, 2).codes.tolist(), queries.share(1, 2).counts.tolist()
        ([[7]], [2])
        """
        part = slice(rank, None, world_size)
        inverse = self.inverse[self.inverse % world_size == rank] // world_size
        return type(self)(self.codes[part], self.classes[part], self.counts[part], inverse)

    def mean(self, values: NDArray[Any]) -> Any:
        """Return the mean over all items of values of the pairs: (u,) to a float, (u, ...) to an array."""
        weighted = values * self.counts.reshape(-1, *[1] * (values.ndim - 1))
        mean = weighted.sum(0) / self.counts.sum()
        return float(mean) if values.ndim == 1 else mean


@dataclass(frozen=True, eq=False)
class Database:
    """A database by its distinct codes of any class, and by its pairs of code and class."""

    codes: Words  # (e, W)
    counts: Integers  # (e,), items of each code
    pairs: UniqueCodes  # by class and code
    bounds: Integers  # (K + 1,): the pairs of class k are bounds[k]:bounds[k + 1]

    @classmethod
    def from_codes(cls, codes: Words, classes: Integers, class_count: int) -> Self:
        """Merge items with codes (n, W) and classes (n,); a class of 0..class_count-1 may be empty."""
        pairs = UniqueCodes.from_codes(codes, classes)
        ids = _code_ids(pairs.codes)
        _, first = np.unique(ids, return_index=True)
        # Weights are doubles. They are exact, since counts are far below 2**53.
        counts = np.bincount(ids, weights=pairs.counts, minlength=len(first)).astype(np.int64)
        bounds = np.searchsorted(pairs.classes, np.arange(class_count + 1))
        return cls(pairs.codes[first], counts, pairs, bounds)


def class_ids(*labels: NDArray[Any]) -> tuple[list[Integers], int]:
    """Return the labels of several sets as classes 0..K-1 that they share, and K."""
    classes, ids = np.unique(np.concatenate(labels), return_inverse=True)
    return np.split(ids, np.cumsum([len(part) for part in labels])[:-1]), len(classes)


def _code_ids(codes: Words) -> Integers:
    """Return equal numbers for equal codes (n, W), ascending with the words from the first."""
    ids = np.unique(codes[:, 0], return_inverse=True)[1]
    for word in codes.T[1:]:
        values, more = np.unique(word, return_inverse=True)
        ids = np.unique(ids * len(values) + more, return_inverse=True)[1]
    return ids


@dataclass(frozen=True, eq=False)
class Ranking:
    """Distinct queries, the database, and the histograms of their distances. Counts are exact.

    They take the memory of the packed inputs and of the histograms; distances are computed block by block.
    """

    items: Histograms  # (u, c + 1): database items at each distance
    relevant: Histograms  # (u, c + 1): items of the query's class
    queries: UniqueCodes
    database: Database

    @classmethod
    def from_codes(cls, query_codes: Any, query_labels: Any, database_codes: Any, database_labels: Any) -> Self:
        """Rank a database (n, c), labels (n,), for queries (m, c), labels (m,); tensors on any device, or arrays.

        Raises:
            ValueError: codes other than -1 and +1, shapes that do not fit, or no query.

        >>> ranking = Ranking.from_codes([[1, 1]], [0], [[1, 1], [1, -1], [-1, 1]], [1, 0, 1])
        >>> ranking.items.tolist(), ranking.relevant.tolist()
        ([[1, 2, 0]], [[0, 1, 0]])
        """
        return cls.from_merged(*merge_codes(query_codes, query_labels, database_codes, database_labels))

    @classmethod
    def from_merged(cls, queries: UniqueCodes, database: Database, bits: int) -> Self:
        """Rank a database for distinct queries, as `merge_codes` returns them; there may be none."""
        return cls(_items(queries, database, bits), _relevant(queries, database, bits), queries, database)

    @property
    def bits(self) -> int:
        """Length of a code."""
        return self.items.shape[1] - 1

    def mean(self, values: NDArray[Any]) -> Any:
        """Return the mean over all queries of values of the distinct ones: (u,) to a float, (u, ...) to an array."""
        return self.queries.mean(values)

    def each(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of the distinct queries for each query, in the given order: (u, ...) to (m, ...)."""
        return values[self.queries.inverse]


def merge_codes(
    query_codes: Any, query_labels: Any, database_codes: Any, database_labels: Any
) -> tuple[UniqueCodes, Database, int]:
    """Return the distinct queries, the database, and the length of a code; see `Ranking.from_codes`.

    Raises:
        ValueError: codes other than -1 and +1, shapes that do not fit, or no query.
    """
    shapes = [tuple(np.shape(codes)) for codes in (query_codes, database_codes)]
    if [len(shape) for shape in shapes] != [2, 2] or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"codes of shapes {shapes[0]} and {shapes[1]} cannot be compared")
    labels = [_array(query_labels), _array(database_labels)]
    if any(array.shape != shape[:1] for array, shape in zip(labels, shapes, strict=True)):
        raise ValueError("each code needs one label")
    if shapes[0][0] == 0:
        raise ValueError("there is no query to average over")
    (query_classes, classes), class_count = class_ids(*labels)
    queries = UniqueCodes.from_codes(pack(query_codes), query_classes)
    return queries, Database.from_codes(pack(database_codes), classes, class_count), shapes[0][1]


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Yield slices of rows of `width` distances each, as many at a time as fit in a block; at least one."""
    size = max(1, BLOCK // max(1, width))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _items(queries: UniqueCodes, database: Database, bits: int) -> Histograms:
    """Return all items by distance; distinct queries are compared with distinct codes."""
    counts = _count_weights(database.counts)
    histograms = np.zeros((len(queries.codes), bits + 1), np.int32)
    codes = len(database.codes)
    for rows in blocks(len(histograms), max(min(codes, BLOCK), bits + 1)):
        block = queries.codes[rows, None]
        row = np.arange(len(block))[:, None]
        for start in range(0, codes, BLOCK):
            columns = slice(start, start + BLOCK)
            distance = hamming(block, database.codes[columns])
            weights = None if counts is None else np.tile(counts[columns], len(block))
            histograms[rows] += _histograms(row, distance, weights, len(block), bits)
    return histograms


def _relevant(queries: UniqueCodes, database: Database, bits: int) -> Histograms:
    """Return relevant items by distance; a query is compared only with the codes of its own class."""
    counts = _count_weights(database.pairs.counts)
    histograms = np.zeros((len(queries.codes), bits + 1), np.int32)
    first = database.bounds[queries.classes]
    lengths = database.bounds[queries.classes + 1] - first
    before = np.concatenate([[0], np.cumsum(lengths)])  # pairs of a query and a code of its class
    start = 0
    while start < len(histograms):
        # Take as many queries as have a block of pairs together, and a block of histograms; at least one.
        end = int(np.searchsorted(before, before[start] + BLOCK, side="right")) - 1
        end = max(start + 1, min(end, start + BLOCK // (bits + 1)))
        rows = slice(start, end)
        row = np.repeat(np.arange(end - start), lengths[rows])
        pair = np.arange(before[start], before[end]) + np.repeat(first[rows] - before[rows], lengths[rows])
        distance = hamming(queries.codes[rows][row], database.pairs.codes[pair])
        weights = None if counts is None else counts[pair]
        histograms[rows] = _histograms(row, distance, weights, end - start, bits)
        start = end
    return histograms


def _histograms(row: Integers, distance: NDArray[Any], weights: Any, rows: int, bits: int) -> NDArray[Any]:
    """Return the distances counted by row: (rows, c + 1). torch counts 32-bit integers three times as fast as numpy."""
    bins = (distance + (row * (bits + 1)).astype(np.int32)).reshape(-1)
    weight_tensor = None if weights is None else torch.from_numpy(weights)
    counted = torch.bincount(torch.from_numpy(bins), weight_tensor, minlength=rows * (bits + 1))
    # Weighted counts are doubles that are integers.
    return counted.numpy().astype(np.int32, copy=False).reshape(rows, bits + 1)


def _count_weights(counts: Integers) -> NDArray[np.float64] | None:
    """Return counts as weights; None if each is one."""
    return None if (counts == 1).all() else counts.astype(np.float64)


def _array(labels: Any) -> NDArray[Any]:
    return labels.cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
