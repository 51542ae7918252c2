"""mAP with ties against every order of the tied items, drawn orders, and plain sorting."""

from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import pytest
import torch

from raysearch.tasks.metrics import mean_average_precision

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
TIES = ("expected", "index", "best", "worst")


def plain_ap(relevant: np.ndarray) -> float:
    hits, total = 0, 0.0
    for rank, item in enumerate(relevant, 1):
        if item:
            hits += 1
            total += hits / rank
    return total / hits if hits else 0.0


def hamming(query: np.ndarray, database: np.ndarray) -> np.ndarray:
    return (query != database).sum(1)


def at_distances(distances: list[int], bits: int) -> np.ndarray:
    """Codes that differ from the all-ones query in the given numbers of bits."""
    return np.array([[-1] * d + [1] * (bits - d) for d in distances])


def retrieval(seed: int, m: int, n: int, bits: int, classes: int) -> Data:
    draw = np.random.default_rng(seed)
    codes = draw.choice([-1, 1], (m + n, bits))
    labels = draw.integers(classes, size=m + n)
    return codes[:m], labels[:m], codes[m:], labels[m:]


def by_query(data: Data, score: Callable[[np.ndarray, np.ndarray], float]) -> float:
    """Mean over queries of score(distances, relevant)."""
    query_codes, query_labels, database_codes, database_labels = data
    queries = zip(query_codes, query_labels, strict=True)
    return float(np.mean([score(hamming(q, database_codes), database_labels == y) for q, y in queries]))


def all_orders(distance: np.ndarray, relevant: np.ndarray) -> float:
    buckets = [relevant[distance == d] for d in np.unique(distance)]
    return float(np.mean([plain_ap(np.concatenate(order)) for order in product(*(permutations(b) for b in buckets))]))


def test_hand_value() -> None:
    # One irrelevant item nearest, then a tie of one relevant and one irrelevant: (1/2 + 1/3) / 2.
    data = np.ones((1, 4)), [7], at_distances([0, 2, 2], 4), [1, 7, 1]
    assert mean_average_precision(*data) == pytest.approx(0.416667, abs=1e-6)
    assert mean_average_precision(*data, ties="best") == pytest.approx(1 / 2)
    assert mean_average_precision(*data, ties="index") == pytest.approx(1 / 2)
    assert mean_average_precision(*data, ties="worst") == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(8))
def test_every_order_of_small_ties(seed: int) -> None:
    # Two or three bits over seven items: buckets of every mixture, some of them with the whole database.
    data = retrieval(seed, m=3, n=7, bits=1 + seed % 3, classes=2)
    orders: dict[str, Callable] = {
        "expected": all_orders,
        "index": lambda d, r: plain_ap(r[np.argsort(d, kind="stable")]),
        "best": lambda d, r: plain_ap(r[np.lexsort((~r, d))]),
        "worst": lambda d, r: plain_ap(r[np.lexsort((r, d))]),
    }
    for ties, score in orders.items():
        assert mean_average_precision(*data, ties=ties) == pytest.approx(by_query(data, score), rel=1e-9), ties


def test_drawn_orders_of_larger_ties() -> None:
    data = retrieval(20, m=4, n=120, bits=6, classes=5)
    draw = np.random.default_rng(21)

    def drawn(distance: np.ndarray, relevant: np.ndarray) -> float:
        keys = distance + draw.random((4000, len(distance)))
        sorted_relevant = relevant[np.argsort(keys, 1)]
        precision = sorted_relevant.cumsum(1) / np.arange(1, len(distance) + 1)
        return (precision * sorted_relevant).sum(1).mean() / relevant.sum()

    # A drawn order's AP deviates by 0.015, the mean of 4 queries x 4,000 orders by 0.00012; five of those are allowed.
    assert mean_average_precision(*data) == pytest.approx(by_query(data, drawn), abs=0.0006)


@pytest.mark.parametrize("ties", TIES)
def test_without_ties_all_ways_are_plain(ties: str) -> None:
    draw = np.random.default_rng(1)
    database = at_distances(draw.permutation(25).tolist(), 24)
    data = np.stack([np.ones(24), -np.ones(24)]), np.array([0, 1]), database, draw.integers(3, size=25)
    expected = by_query(data, lambda d, r: plain_ap(r[np.argsort(d)]))
    assert mean_average_precision(*data, ties=ties) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("bits", [3, 8, 48])
@pytest.mark.parametrize("seed", range(5))
def test_bounds_hold_the_expectation_and_ignore_the_order(seed: int, bits: int) -> None:
    data = retrieval(seed, m=20, n=300, bits=bits, classes=6)
    value = {ties: mean_average_precision(*data, ties=ties) for ties in TIES}
    assert value["worst"] < value["expected"] < value["best"]
    assert value["worst"] <= value["index"] <= value["best"]
    shuffle = np.random.default_rng(seed).permutation(300)
    shuffled = data[0], data[1], data[2][shuffle], data[3][shuffle]
    for ties in ("expected", "best", "worst"):
        assert mean_average_precision(*shuffled, ties=ties) == pytest.approx(value[ties], rel=1e-9)


def test_index_order_is_a_stable_sort() -> None:
    data = retrieval(2, m=30, n=400, bits=5, classes=4)
    expected = by_query(data, lambda d, r: plain_ap(r[np.argsort(d, kind="stable")]))
    assert mean_average_precision(*data, ties="index") == pytest.approx(expected, rel=1e-9)
    # Relevant items first in the list gain by it, and lose when the list is turned.
    first = np.argsort(data[3] != 0, kind="stable")
    zeros = np.zeros(30, dtype=int)
    for order, ties in ((first, "best"), (first[::-1], "worst")):
        sorted_list = data[0], zeros, data[2][order], data[3][order]
        by_index, bound = (mean_average_precision(*sorted_list, ties=t) for t in ("index", ties))
        assert by_index == pytest.approx(bound, rel=1e-9)


@pytest.mark.parametrize("ties", TIES)
def test_a_query_without_relevant_items_counts_as_zero(ties: str) -> None:
    codes, labels, *database = retrieval(3, m=6, n=50, bits=4, classes=3)
    known, strange = mean_average_precision(codes, labels, *database, ties=ties), np.full(6, 99)
    both = mean_average_precision(np.tile(codes, (2, 1)), np.concatenate([labels, strange]), *database, ties=ties)
    assert both == pytest.approx(known / 2, rel=1e-9)
    assert mean_average_precision(codes, strange, *database, ties=ties) == 0


def test_many_queries_are_the_mean_of_few() -> None:
    # 17 million distances, to go past what is held at a time.
    codes, labels, *database = retrieval(4, m=5, n=20_000, bits=6, classes=4)
    few = [mean_average_precision(codes[k : k + 1], labels[k : k + 1], *database) for k in range(5)]
    order = np.random.default_rng(0).integers(5, size=850)
    value = mean_average_precision(codes[order], labels[order], *database)
    assert value == pytest.approx(np.mean([few[k] for k in order]), rel=1e-9)


@pytest.mark.parametrize("bits", [6, 160])
def test_types_of_codes(bits: int) -> None:
    # 160 bits: an inner product of int8 codes leaves int8.
    data = retrieval(5, m=10, n=80, bits=bits, classes=4)
    expected = by_query(data, lambda d, r: plain_ap(r[np.argsort(d, kind="stable")]))
    labels = torch.from_numpy(data[1]), torch.from_numpy(data[3])
    for dtype in (torch.int8, torch.int64, torch.float32, torch.float64):
        query, database = (torch.from_numpy(codes).to(dtype) for codes in (data[0], data[2]))
        value = mean_average_precision(query, labels[0], database, labels[1], ties="index")
        assert isinstance(value, float)
        assert value == pytest.approx(expected, rel=1e-9)
    for dtype in (np.int8, np.int64, np.float32, np.float64):
        arrays = data[0].astype(dtype), data[1], data[2].astype(dtype), data[3]
        assert mean_average_precision(*arrays, ties="index") == pytest.approx(expected, rel=1e-9)
    mixed = torch.from_numpy(data[0]).float(), data[1], data[2].astype(np.int8), labels[1]
    assert mean_average_precision(*mixed, ties="index") == pytest.approx(expected, rel=1e-9)


def test_what_does_not_fit_is_refused() -> None:
    query, query_labels, database, database_labels = retrieval(6, m=4, n=9, bits=5, classes=2)
    with pytest.raises(ValueError, match="expected"):  # names what there is
        mean_average_precision(query, query_labels, database, database_labels, ties="stable")
    for wrong in (
        (query[:, :4], query_labels, database, database_labels),
        (query, query_labels[:3], database, database_labels),
        (query, query_labels, database, database_labels[:8]),
        (query, query_labels, database[0], database_labels),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            mean_average_precision(*wrong)
