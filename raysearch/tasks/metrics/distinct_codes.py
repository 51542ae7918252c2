"""Items with equal codes merged: training leaves about one code per class, so thousands of codes become hundreds.

Everything is sorted by class and code, so that results do not depend on the order of the items. Legend: `n` items, `u`
distinct pairs of a code and a class, `e` distinct codes, `K` classes, `W` words of a packed code.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from raysearch.models.hashing.packed import Words

Integers = NDArray[np.int64]


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
