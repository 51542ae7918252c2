"""The nearest codes of a database by Hamming distance, exactly, with equal distances in the order of rows.

Two engines with the same answers: numpy, and faiss's flat binary index (Johnson, Douze and Jegou 2017), an optional
dependency, for databases that grow beyond some hundred thousand codes. Legend: `m` queries, `n` codes, `W` words.
"""

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from raysearch.core.errors import UserError
from raysearch.models.hashing.packed import Words, hamming

Engine = Literal["numpy", "faiss"]
Found = tuple[NDArray[np.int32], NDArray[np.int64]]  # distances (m, k) and rows (m, k)

MANY = 200_000  # codes from which faiss is taken where it is installed; numpy then takes milliseconds a query
_ROWS = 1 << 16  # codes compared at once: half a megabyte a word stays in a cache


class Search(Protocol):
    def nearest(self, queries: Words, k: int) -> Found:
        """Distances and rows of the k nearest codes of each query (m, W), k at most n, nearest first."""


def search(database: Words, engine: Engine | None = None) -> Search:
    """Make a search of codes (n, W).

    Args:
        database: packed codes, see `packed`.
        engine: "numpy", "faiss", or None for faiss where there are many codes and it is installed.

    Raises:
        UserError: faiss is asked for and not installed.

    >>> from raysearch.models.hashing.packed import pack
    >>> codes = pack([[1, 1, 1], [-1, -1, -1], [1, 1, -1], [1, 1, 1]])
    >>> distances, rows = search(codes).nearest(pack([[1, 1, 1]]), k=3)
    >>> distances.tolist(), rows.tolist()
    ([[0, 0, 1]], [[0, 3, 2]])
    """
    if engine not in (None, "numpy", "faiss"):
        raise UserError(f"unknown engine {engine!r}; known: faiss, numpy")
    faiss = _faiss() if engine == "faiss" or (engine is None and len(database) > MANY) else None
    if engine == "faiss" and faiss is None:
        raise UserError("faiss is not installed; python -m pip install 'raysearch[faiss]'")
    return NumpySearch(database) if faiss is None else FaissSearch(database, faiss)


class NumpySearch:
    def __init__(self, database: Words) -> None:
        self._database = database

    def nearest(self, queries: Words, k: int) -> Found:
        distances, rows = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.int64)
        for number, query in enumerate(queries):
            blocks = (self._database[at : at + _ROWS] for at in range(0, len(self._database), _ROWS))
            all_of_them = np.concatenate([hamming(query, block) for block in blocks])
            close = np.flatnonzero(all_of_them <= np.partition(all_of_them, k - 1)[k - 1])
            rows[number] = close[np.argsort(all_of_them[close], kind="stable")[:k]]
            distances[number] = all_of_them[rows[number]]
        return distances, rows


class FaissSearch:
    def __init__(self, database: Words, faiss: Any) -> None:
        self._index = faiss.IndexBinaryFlat(64 * database.shape[1])  # faiss wants whole bytes; zeros fill the words up
        self._index.add(_in_bytes(database))

    def nearest(self, queries: Words, k: int) -> Found:
        distances, rows = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.int64)
        in_bytes = _in_bytes(queries)
        furthest = self._index.search(in_bytes, k)[0][:, -1]
        for number, limit in enumerate(furthest.tolist()):
            # faiss promises no order among equals: all codes within the k-th distance are asked for and sorted here
            _, near, close = self._index.range_search(in_bytes[number : number + 1], limit + 1)
            order = np.lexsort((close, near))[:k]
            distances[number], rows[number] = near[order], close[order]
        return distances, rows


def _in_bytes(words: Words) -> NDArray[np.uint8]:
    return np.ascontiguousarray(words, dtype="<u8").view(np.uint8)


def _faiss() -> Any:
    """The module, where it is installed."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss
