"""What learned codes say of the classes: how many codes a class has, and how far the classes' codes lie apart.

Discrete hashing ends with about one code a class, and retrieval is then a search for the nearest class code. Two
classes of one code cannot be told apart, whatever the network does: their number bounds the figure from above.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from raysearch.models.hashing.packed import hamming
from raysearch.tasks.metrics.distinct_codes import Database
from raysearch.tasks.metrics.ranking import blocks


@dataclass(frozen=True)
class ClassCodes:
    """A class's code is the one that most of its items have; of equally many, the first in the order of packed codes.

    Distances are NaN for a single class.
    """

    classes: int
    codes_per_class: float  # distinct codes of a class, mean over classes
    distinct: int  # of the class codes, those that differ
    least_distance: float  # between any two class codes
    mean_least_distance: float  # of a class code to the nearest other, mean over classes

    @classmethod
    def of(cls, database: Database) -> Self:
        """Describe a database, as `Ranking.of(...).database` is one.

        Raises:
            ValueError: no item.

        >>> from raysearch.tasks.metrics.ranking import Ranking
        >>> codes, labels = [[1, 1, 1], [1, 1, 1], [1, 1, -1], [-1, -1, 1]], [0, 0, 0, 1]
        >>> ClassCodes.of(Ranking.of(codes, labels, codes, labels).database)
        ClassCodes(classes=2, codes_per_class=1.5, distinct=2, least_distance=2.0, mean_least_distance=2.0)
        """
        pairs = database.pairs
        if not len(pairs.codes):
            raise ValueError("an empty database has no class codes")
        # By class, most items first, and stably: the first of each class is its code.
        order = np.lexsort((-pairs.counts, pairs.classes))
        classes, first, codes = np.unique(pairs.classes[order], return_index=True, return_counts=True)
        own = pairs.codes[order[first]]
        least = np.full(len(own), np.nan)
        if len(own) > 1:
            for rows in blocks(len(own), len(own)):
                distance = hamming(own[rows, None], own).astype(np.float64)
                distance[np.arange(len(distance)), np.arange(rows.start, rows.stop)] = np.inf
                least[rows] = distance.min(1)
        distinct = len(np.unique(own, axis=0))
        return cls(len(classes), float(codes.mean()), distinct, float(least.min()), float(least.mean()))
