"""Few-shot episodes fixed by (seed, index) alone: the same for every method, batch size and number of workers.

An episode has `W` ways (classes), drawn uniformly. Each class has `Q` queries and `K` supports, drawn uniformly. All
draws are without replacement: the protocol of HelixFormer (arXiv 2207.00784) and LWFM-SPM (arXiv 2411.06363). Episode
number i is the same in every run, so two methods are compared by their differences on the same episodes.

Classes are drawn first, then all queries, then the supports shot by shot from the rest. So for one (seed, index) the
5-shot episode has the classes and the queries of the 1-shot episode, and begins with its supports, as long as each of
its classes has Q + K images in both.

A class with fewer than Q + K images keeps K of them for the support and repeats some of the others as queries. A class
with K images or fewer uses any image for both. A warning gives the number of such small classes.

The random numbers are words of Philox (Salmon et al., SC 2011), a counter-based generator: the seed is its key, the
index the upper half of its counter. NumPy guarantees these words for all its versions, but not the results of
`Generator.choice`, so draws are computed from the words here.
"""

import sys
import warnings
from collections.abc import Iterator

import numpy as np

from raysearch.core import UserError

WORD_BITS = 64
LIMIT = 2**WORD_BITS  # exclusive, for seed and index


class Episodes:
    """Episodes of one part of a data set. Rows are sorted by class once, so that an episode costs microseconds.

    Args:
        labels: (n,) integers, the class of each row.
        ways: W, classes in an episode.
        shots: K, supports per class.
        queries: Q, queries per class.
        seed: 0 or more.

    Raises:
        UserError: fewer classes than ways, a number below 1, a seed below 0.

    Example:
        >>> episodes = Episodes(np.arange(12) // 4, ways=2, shots=1, queries=2, seed=0)
        >>> support, query = episodes.draw(7)
        >>> support.shape, query.shape
        ((2, 1), (2, 2))
    """

    def __init__(self, labels: np.ndarray, ways: int, shots: int, queries: int, seed: int) -> None:
        for name, number in {"ways": ways, "shots": shots, "queries": queries}.items():
            if number < 1:
                raise UserError(f"episodes.{name} must be 1 or more, not {number}")
        if not 0 <= seed < LIMIT:
            raise UserError(f"the seed of episodes must be 0 or more and below 2^{WORD_BITS}, not {seed}")
        self.ways = ways
        self.shots = shots
        self.queries = queries
        self.seed = seed
        self._rows = _rows_by_class(labels)
        if len(self._rows) < ways:
            raise UserError(f"{ways}-way episodes need {ways} classes, and these images have {len(self._rows)}")
        needed = shots + queries
        if small := sum(len(rows) < needed for rows in self._rows):
            warnings.warn(
                f"{small} of {len(self._rows)} classes have fewer than the {needed} images that {shots} shots and "
                f"{queries} queries take: some of their images come more than once in an episode",
                stacklevel=_frames_here(),
            )

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the support (W, K) and the queries (W, Q) of episode `index`, int64, ways as drawn.

        Raises:
            ValueError: an index out of range.
        """
        if not 0 <= index < LIMIT:
            raise ValueError(f"an episode's index is 0 or more and below 2^{WORD_BITS}, not {index}")
        words = self._words(index)
        classes = _Deck(len(self._rows))
        ways = [self._rows[classes.draw(next(words))] for _ in range(self.ways)]
        decks = [_Deck(len(rows)) for rows in ways]
        query = [[_query(deck, next(words), self.shots) for _ in range(self.queries)] for deck in decks]
        decks = [deck if deck.size > self.shots else _Deck(deck.size) for deck in decks]
        support = [[deck.draw(next(words)) for deck in decks] for _ in range(self.shots)]
        return (
            np.stack([rows[positions] for rows, positions in zip(ways, np.transpose(support), strict=True)]),
            np.stack([rows[positions] for rows, positions in zip(ways, query, strict=True)]),
        )

    def batch(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return E = count episodes from `start` on: support (E, W, K) and queries (E, W, Q).

        Raises:
            ValueError: an index out of range.
        """
        support, query = zip(*(self.draw(index) for index in range(start, start + count)), strict=True)
        return np.stack(support), np.stack(query)

    def _words(self, index: int) -> Iterator[int]:
        """Return one word per draw: for ways, for queries class by class, for supports shot by shot."""
        generator = np.random.Philox(key=self.seed, counter=index << 2 * WORD_BITS)
        return iter(generator.random_raw(self.ways * (1 + self.queries + self.shots)).tolist())


def episode(
    labels: np.ndarray, index: int, seed: int, ways: int, shots: int, queries: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a single episode; use `Episodes` for several.

    Args:
        labels: (n,) integers, the class of each row.
        index: the index of the episode, 0 or more.
        seed: 0 or more.
        ways: W, classes in an episode.
        shots: K, supports per class.
        queries: Q, queries per class.

    Returns:
        The rows of the support (W, K) and of the queries (W, Q), int64.

    Raises:
        UserError: as `Episodes`.
        ValueError: an index out of range.

    Example:
        >>> support, query = episode(np.array([4, 4, 9, 9, 4, 9]), index=0, seed=0, ways=2, shots=1, queries=1)
        >>> sorted([*support.ravel(), *query.ravel()]) == sorted({*support.ravel(), *query.ravel()})
        True
    """
    return Episodes(labels, ways, shots, queries, seed).draw(index)


class _Deck:
    """The numbers 0 to size - 1, drawn without replacement, and with replacement once all are drawn.

    A Fisher-Yates shuffle that stores only the numbers that have moved, so that large classes cost no more than small.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.drawn = 0
        self._moved: dict[int, int] = {}

    def draw(self, word: int, keep: int = 0) -> int:
        """Draw a new number, leaving `keep` of them undrawn; if there is none, repeat one that was drawn."""
        if self.drawn >= self.size - keep:
            return self._at(_below(self.drawn, word))
        position = self.drawn + _below(self.size - self.drawn, word)
        number = self._at(position)
        self._moved[position] = self._at(self.drawn)
        self._moved[self.drawn] = number
        self.drawn += 1
        return number

    def _at(self, position: int) -> int:
        return self._moved.get(position, position)


def _query(deck: _Deck, word: int, shots: int) -> int:
    return deck.draw(word, keep=shots if deck.size > shots else 0)


def _below(bound: int, word: int) -> int:
    """Map a word to a number from 0 to bound - 1, uniform up to bound / 2^64."""
    return word * bound >> WORD_BITS


def _rows_by_class(labels: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each class, ascending, int64, with classes in the order of their labels."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are one row of integers, not {labels.dtype} of shape {labels.shape}")
    order = np.argsort(labels, kind="stable").astype(np.int64)
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(order, starts) if len(order) else []


def _frames_here() -> int:
    """Return the number of frames from the caller to the first outside this file, which a warning points to."""
    frame = sys._getframe(1)
    depth = 1
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
        depth += 1
    return depth
