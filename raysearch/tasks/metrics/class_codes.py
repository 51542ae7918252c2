"""A description of the codes of classes: the number of codes per class, and the distances between classes.

Discrete hashing ends with about one code per class, and retrieval is then a search for the nearest class code. Two
classes with the same code cannot be distinguished, so their number bounds the metric from above.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from raysearch.models.hashing.packed import hamming
from raysearch.tasks.metrics.ranking import Database, blocks


@dataclass(frozen=True)
class ClassCodes:
    """The codes of classes. A class's code is its most common one; of equally common ones, the first as packed.

    Distances are NaN for a single class.
    """

    classes: int
    codes_per_class: float  # number of distinct codes of a class, mean over classes
    distinct: int  # number of distinct class codes
    least_distance: float  # between any two class codes
    mean_least_distance: float  # of a class code to the nearest other, mean over classes

    @classmethod
    def from_database(cls, database: Database) -> Self:
        """Describe a database, such as `Ranking.from_codes(...).database`.

        Raises:
            ValueError: an empty database.

        >>> from raysearch.tasks.metrics.ranking import Ranking
        >>> codes, labels = [[1, 1, 1], [1, 1, 1], [1, 1, -1], [-1, -1, 1]], [0, 0, 0, 1]
        >>> ClassCodes.from_database(Ranking.from_codes(codes, labels, codes, labels).database)
        ClassCodes(classes=2, codes_per_class=1.5, distinct=2, least_distance=2.0, mean_least_distance=2.0)
        """
        pairs = database.pairs
        if not len(pairs.codes):
            raise ValueError("an empty database has no class codes")
        # Sort by class, then by falling count, and stably: the first pair of a class has its code.
        order = np.lexsort((-pairs.counts, pairs.classes))
        classes, first, codes = np.unique(pairs.classes[order], return_index=True, return_counts=True)
        class_codes = pairs.codes[order[first]]
        least = np.full(len(class_codes), np.nan)
        if len(class_codes) > 1:
            for rows in blocks(len(class_codes), len(class_codes)):
                distance = hamming(class_codes[rows, None], class_codes).astype(np.float64)
                distance[np.arange(len(distance)), np.arange(rows.start, rows.stop)] = np.inf
                least[rows] = distance.min(1)
        distinct = len(np.unique(class_codes, axis=0))
        return cls(len(classes), float(codes.mean()), distinct, float(least.min()), float(least.mean()))
