"""A database ranked by Hamming distance for each query, kept as what figures need of it: two histograms a query.

How many items and how many relevant items lie at each distance decides every figure of Hamming ranking that does not
depend on how a sort breaks ties. Legend: `m` queries, of which `u` are distinct in code or class, `n` database items,
`e` distinct database codes, `c` bits, `W` words of a packed code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysearch.models.hashing.packed import hamming, pack
from raysearch.tasks.metrics.distinct_codes import Database, Integers, UniqueCodes, class_ids

Histograms = NDArray[np.int32]

# Distances held at a time. One fewer than the elements from which torch's reductions wake their own threads, which
# for work of 10 microseconds costs more than it brings.
BLOCK = (1 << 15) - 1


@dataclass(frozen=True, eq=False)
class Ranking:
    """Distinct queries, the database, and the histograms of their distances. Counts are exact.

    Memory is that of the inputs, packed, and of the histograms; distances are computed a block at a time.
    """

    items: Histograms  # (u, c + 1): database items at each distance
    relevant: Histograms  # (u, c + 1): those of the query's class
    queries: UniqueCodes
    database: Database

    @classmethod
    def of(cls, query_codes: Any, query_labels: Any, database_codes: Any, database_labels: Any) -> Self:
        """Rank a database (n, c), labels (n,), for queries (m, c), labels (m,); tensors on any device, or arrays.

        Raises:
            ValueError: codes that are not -1 and +1, shapes that do not fit, or no query.

        >>> ranking = Ranking.of([[1, 1]], [0], [[1, 1], [1, -1], [-1, 1]], [1, 0, 1])
        >>> ranking.items.tolist(), ranking.relevant.tolist()
        ([[1, 2, 0]], [[0, 1, 0]])
        """
        shapes = [tuple(np.shape(codes)) for codes in (query_codes, database_codes)]
        if [len(shape) for shape in shapes] != [2, 2] or shapes[0][1] != shapes[1][1]:
            raise ValueError(f"codes of shapes {shapes[0]} and {shapes[1]} cannot be compared")
        labels = [_array(query_labels), _array(database_labels)]
        if any(of.shape != shape[:1] for of, shape in zip(labels, shapes, strict=True)):
            raise ValueError("each code needs one label")
        if shapes[0][0] == 0:
            raise ValueError("no query: a mean over none is not a number")
        (query_classes, classes), class_count = class_ids(*labels)
        queries = UniqueCodes.of(pack(query_codes), query_classes)
        database = Database.of(pack(database_codes), classes, class_count)
        bits = shapes[0][1]
        return cls(_items(queries, database, bits), _relevant(queries, database, bits), queries, database)

    @property
    def bits(self) -> int:
        return self.items.shape[1] - 1

    def mean(self, values: NDArray[Any]) -> Any:
        """Mean over all queries of what each distinct one has: (u,) to a float, (u, ...) to an array."""
        weighted = values * self.queries.counts.reshape(-1, *[1] * (values.ndim - 1))
        mean = weighted.sum(0) / self.queries.counts.sum()
        return float(mean) if values.ndim == 1 else mean

    def each(self, values: NDArray[Any]) -> NDArray[Any]:
        """What each query has, in the order they were given, of what each distinct one has: (u, ...) to (m, ...)."""
        return values[self.queries.of_item]


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Rows of `width` distances each, as many at a time as are held, one at least."""
    size = max(1, BLOCK // max(1, width))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _items(queries: UniqueCodes, database: Database, bits: int) -> Histograms:
    """All items by distance: distinct queries by distinct codes."""
    counts = _no_ones(database.counts)
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
    """Relevant items by distance: a query meets only the codes of its own class."""
    counts = _no_ones(database.pairs.counts)
    histograms = np.zeros((len(queries.codes), bits + 1), np.int32)
    first = database.bounds[queries.classes]
    lengths = database.bounds[queries.classes + 1] - first
    before = np.concatenate([[0], np.cumsum(lengths)])  # pairs of a query and a code of its class
    start = 0
    while start < len(histograms):
        # As many queries as have a block of pairs together, and a block of histograms; one at least.
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
    """Distances counted by row: (rows, c + 1). torch counts 32-bit integers three times as fast as numpy."""
    places = (distance + (row * (bits + 1)).astype(np.int32)).reshape(-1)
    weighing = None if weights is None else torch.from_numpy(weights)
    counted = torch.bincount(torch.from_numpy(places), weighing, minlength=rows * (bits + 1))
    # Weighted counts are doubles that hold integers.
    return counted.numpy().astype(np.int32, copy=False).reshape(rows, bits + 1)


def _no_ones(counts: Integers) -> NDArray[np.float64] | None:
    """Counts as weights, or None where each is one."""
    return None if (counts == 1).all() else counts.astype(np.float64)


def _array(labels: Any) -> NDArray[Any]:
    return labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
