"""The nearest codes against a loop that sorts all of them."""

import importlib.util
import sys

import numpy as np
import pytest

from raysearch.core import UserError
from raysearch.models.hashing import neighbours
from raysearch.models.hashing.packed import pack

needs_faiss = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is not installed")
ENGINES = ["numpy", pytest.param("faiss", marks=needs_faiss)]


def plain(queries: np.ndarray, database: np.ndarray, k: int) -> tuple[list[list[int]], list[list[int]]]:
    """Distances and rows, bit by bit; equal distances by row."""
    nearest = [
        sorted((sum(a != b for a, b in zip(query, code, strict=True)), row) for row, code in enumerate(database))[:k]
        for query in queries.tolist()
    ]
    return [[distance for distance, _ in pairs] for pairs in nearest], [[row for _, row in pairs] for pairs in nearest]


def codes(count: int, bits: int, distinct: int, seed: int = 0) -> np.ndarray:
    """(count, bits) of few distinct ones, so that most distances are tied."""
    rng = np.random.default_rng(seed)
    return rng.choice([-1, 1], (distinct, bits))[rng.integers(0, distinct, count)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("bits", [1, 12, 64, 65, 300])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_distances_and_rows_are_a_slow_loops(engine: neighbours.Engine, bits: int, k: int) -> None:
    database = codes(60, bits, 9)
    queries = np.concatenate([codes(4, bits, 9), codes(3, bits, 3, seed=1)])
    nearest = neighbours.search(pack(database), engine).nearest(pack(queries), k)
    distances, rows = plain(queries, database, k)
    assert nearest[0].tolist() == distances
    assert nearest[1].tolist() == rows
    assert (nearest[0].dtype, nearest[1].dtype) == (np.int32, np.int64)


@pytest.mark.parametrize("engine", ENGINES)
def test_ties_across_blocks_of_rows_keep_their_order(
    engine: neighbours.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_ROWS", 16)
    database = codes(101, 24, 3)
    queries = codes(3, 24, 3, seed=2)
    nearest = neighbours.search(pack(database), engine).nearest(pack(queries), 50)
    assert nearest[1].tolist() == plain(queries, database, 50)[1]


def test_no_queries_have_no_neighbours() -> None:
    distances, rows = neighbours.search(pack(codes(5, 8, 5))).nearest(pack(codes(1, 8, 1))[:0], 3)
    assert distances.shape == rows.shape == (0, 3)


class _Faiss:
    """Stands for the module, to see when it is asked for."""

    class IndexBinaryFlat:
        def __init__(self, bits: int) -> None:
            self.bits = bits

        def add(self, in_bytes: np.ndarray) -> None:
            assert in_bytes.shape[1] * 8 == self.bits


def test_faiss_is_taken_when_asked_for_or_for_many_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", _Faiss)
    monkeypatch.setattr(neighbours, "MANY", 10)
    few = pack(codes(10, 24, 5))
    many = pack(codes(11, 24, 5))
    assert isinstance(neighbours.search(few), neighbours.NumpySearch)
    assert isinstance(neighbours.search(many), neighbours.FaissSearch)
    assert isinstance(neighbours.search(few, "faiss"), neighbours.FaissSearch)
    assert isinstance(neighbours.search(many, "numpy"), neighbours.NumpySearch)


def test_without_faiss_many_codes_are_searched_by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(neighbours, "MANY", 10)
    many = pack(codes(11, 24, 5))
    assert isinstance(neighbours.search(many), neighbours.NumpySearch)
    with pytest.raises(UserError, match="not installed"):
        neighbours.search(many, "faiss")


def test_an_unknown_engine_is_an_error() -> None:
    with pytest.raises(UserError, match="known: faiss, numpy"):
        neighbours.search(pack(codes(3, 8, 3)), "fais")  # type: ignore[arg-type]
