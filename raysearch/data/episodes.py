"""Few-shot episodes fixed by (seed, index) alone: the same for every method, batch size and number of workers.

An episode is `W` ways (classes) drawn uniformly, and of each class `Q` queries and `K` supports drawn uniformly, all
without replacement: the protocol of HelixFormer (arXiv 2207.00784) and LWFM-SPM (arXiv 2411.06363). Episode number i
is the same whoever asks for it, so two methods are compared by their differences on the same episodes.

Classes are drawn first, then all queries, then the supports shot by shot from what is left. So at one (seed, index) the
5-shot episode has the classes and the queries of the 1-shot episode, and its first supports are that one's, as long as
each of its classes has Q + K images in both.

A class with fewer than Q + K images keeps K of them for the support and repeats some of the others as queries. A class
with K images or fewer cannot keep the two apart and gives any image to both. A warning says how many classes are small.

The random numbers are words of Philox (Salmon et al., SC 2011), a counter-based generator: the seed is its key, the
index the upper half of its counter. NumPy promises these words for all its versions, and does not promise what
`Generator.choice` makes of them; so draws are made of words here.
"""

import sys
import warnings
from collections.abc import Iterator

import numpy as np

from raysearch.core.errors import UserError

WORD_BITS = 64
LIMIT = 2**WORD_BITS  # of seed and index


class Episodes:
    """Episodes of one part of a data set; rows are sorted by class once, so that an episode costs microseconds.

    Args:
        labels: (n,) integers, the class of each row.
        ways: W, classes in an episode.
        shots: K, supports of a class.
        queries: Q, queries of a class.
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
        self.ways, self.shots, self.queries, self.seed = ways, shots, queries, seed
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
        """Rows of the support (W, K) and of the queries (W, Q) of episode `index`, int64, ways in the order drawn."""
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
            np.stack([rows[places] for rows, places in zip(ways, np.transpose(support), strict=True)]),
            np.stack([rows[places] for rows, places in zip(ways, query, strict=True)]),
        )

    def batch(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Episodes start to start + count - 1, E of them: support (E, W, K) and queries (E, W, Q)."""
        support, query = zip(*(self.draw(index) for index in range(start, start + count)), strict=True)
        return np.stack(support), np.stack(query)

    def _words(self, index: int) -> Iterator[int]:
        """The words that (seed, index) fixes, one a draw: ways, queries class by class, supports shot by shot."""
        generator = np.random.Philox(key=self.seed, counter=index << 2 * WORD_BITS)
        return iter(generator.random_raw(self.ways * (1 + self.queries + self.shots)).tolist())


def episode(
    labels: np.ndarray, index: int, seed: int, ways: int, shots: int, queries: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the support (W, K) and of the queries (W, Q) of one episode: `Episodes`, for those who want only one.

    Example:
        >>> support, query = episode(np.array([4, 4, 9, 9, 4, 9]), index=0, seed=0, ways=2, shots=1, queries=1)
        >>> sorted([*support.ravel(), *query.ravel()]) == sorted({*support.ravel(), *query.ravel()})
        True
    """
    return Episodes(labels, ways, shots, queries, seed).draw(index)


class _Deck:
    """The places 0 to size - 1, drawn one after the other without replacement, and with it when all are gone.

    A Fisher-Yates shuffle that keeps only the places that have moved, so that a large class costs no more than a small.
    """

    def __init__(self, size: int) -> None:
        self.size, self.drawn = size, 0
        self._moved: dict[int, int] = {}

    def draw(self, word: int, keep: int = 0) -> int:
        """A place that has not been drawn yet, `keep` of them left aside; else any of those that have been drawn."""
        if self.drawn >= self.size - keep:
            return self._at(_below(self.drawn, word))
        at, self.drawn = self.drawn + _below(self.size - self.drawn, word), self.drawn + 1
        place = self._at(at)
        self._moved[at], self._moved[self.drawn - 1] = self._at(self.drawn - 1), place
        return place

    def _at(self, position: int) -> int:
        return self._moved.get(position, position)


def _query(deck: _Deck, word: int, shots: int) -> int:
    return deck.draw(word, keep=shots if deck.size > shots else 0)


def _below(bound: int, word: int) -> int:
    """A word as a number from 0 to bound - 1; uniform but for bound / 2^64."""
    return word * bound >> WORD_BITS


def _rows_by_class(labels: np.ndarray) -> list[np.ndarray]:
    """Of each class, in the order of labels, its rows in ascending order, int64."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are one row of integers, not {labels.dtype} of shape {labels.shape}")
    order = np.argsort(labels, kind="stable").astype(np.int64)
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(order, starts) if len(order) else []


def _frames_here() -> int:
    """How many frames from the caller out is the first that is not in this file, where a warning points to."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame, depth = frame.f_back, depth + 1
    return depth
