"""The nearest codes of a database by exact Hamming distance, with equal distances in the order of rows.

Two engines give the same answers: numpy, and faiss's flat binary index (Johnson, Douze and Jegou 2017), an optional
dependency, for databases that grow beyond some hundred thousand codes. Legend: `m` queries, `n` codes, `W` words.
"""

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from raysearch.core import UserError
from raysearch.models.hashing.packed import Words, hamming

Engine = Literal["numpy", "faiss"]
Nearest = tuple[NDArray[np.int32], NDArray[np.int64]]  # distances (m, k) and rows (m, k)

MANY = 200_000  # codes from which faiss is used if it is installed; numpy then takes milliseconds per query
_ROWS = 1 << 16  # codes compared at once: half a megabyte per word stays in a cache


class Search(Protocol):
    """A search of a fixed database."""

    def nearest(self, queries: Words, k: int) -> Nearest:
        """Return distances and rows of the k nearest codes of each query, nearest first.

        Args:
            queries: (m, W).
            k: at most n.
        """


def search(database: Words, engine: Engine | None = None) -> Search:
    """Return a search of codes.

    Args:
        database: (n, W) packed codes, see `packed`.
        engine: "numpy", "faiss", or None for faiss if there are many codes and it is installed.

    Raises:
        UserError: unknown engine, or faiss is chosen and not installed.

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
    """Compares each query with all codes."""

    def __init__(self, database: Words) -> None:
        self._database = database

    def nearest(self, queries: Words, k: int) -> Nearest:
        """Return distances and rows of the k nearest codes of each query; see `Search.nearest`."""
        distances = np.empty((len(queries), k), np.int32)
        rows = np.empty((len(queries), k), np.int64)
        for number, query in enumerate(queries):
            blocks = (self._database[at : at + _ROWS] for at in range(0, len(self._database), _ROWS))
            all_distances = np.concatenate([hamming(query, block) for block in blocks])
            close = np.flatnonzero(all_distances <= np.partition(all_distances, k - 1)[k - 1])
            rows[number] = close[np.argsort(all_distances[close], kind="stable")[:k]]
            distances[number] = all_distances[rows[number]]
        return distances, rows


class FaissSearch:
    """Uses faiss's flat binary index."""

    def __init__(self, database: Words, faiss: Any) -> None:
        self._index = faiss.IndexBinaryFlat(64 * database.shape[1])  # in bits, padding included
        self._index.add(_as_bytes(database))

    def nearest(self, queries: Words, k: int) -> Nearest:
        """Return distances and rows of the k nearest codes of each query; see `Search.nearest`."""
        distances = np.empty((len(queries), k), np.int32)
        rows = np.empty((len(queries), k), np.int64)
        query_bytes = _as_bytes(queries)
        furthest = self._index.search(query_bytes, k)[0][:, -1]
        for number, limit in enumerate(furthest.tolist()):
            # faiss does not order equal distances: fetch all codes within the k-th distance and sort them here
            _, near, close = self._index.range_search(query_bytes[number : number + 1], limit + 1)
            order = np.lexsort((close, near))[:k]
            distances[number] = near[order]
            rows[number] = close[order]
        return distances, rows


def _as_bytes(words: Words) -> NDArray[np.uint8]:
    return np.ascontiguousarray(words, dtype="<u8").view(np.uint8)


def _faiss() -> Any:
    """Return the module; None if it is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss
