"""Retrieval data, and its figures written plainly: one query, one order of the items, one loop."""

from collections.abc import Callable
from itertools import permutations, product

import numpy as np

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Score = Callable[[np.ndarray], float]  # of the relevance of a ranked list


def retrieval(seed: int, m: int, n: int, bits: int, classes: int) -> Data:
    draw = np.random.default_rng(seed)
    codes = draw.choice([-1, 1], (m + n, bits))
    labels = draw.integers(classes, size=m + n)
    return codes[:m], labels[:m], codes[m:], labels[m:]


def trained(seed: int, m: int, n: int, bits: int, classes: int) -> Data:
    """As training leaves them: a class has one code, few items another, and queries are near their class's."""
    draw = np.random.default_rng(seed)
    class_codes = draw.choice([-1, 1], (classes, bits))
    class_codes[1] = class_codes[0]  # two classes that cannot be told apart
    query_labels = draw.integers(classes, size=m)
    labels = draw.integers(classes, size=n)
    queries = class_codes[query_labels] * np.where(draw.random((m, bits)) < 0.15, -1, 1)
    database = class_codes[labels]
    database[::17, 0] *= -1
    return queries, query_labels, database, labels


def hamming(query: np.ndarray, database: np.ndarray) -> np.ndarray:
    return (query != database).sum(1)


def at_distances(distances: list[int], bits: int) -> np.ndarray:
    """Codes that differ from the all-ones query in the given numbers of bits."""
    return np.array([[-1] * d + [1] * (bits - d) for d in distances])


def by_query(data: Data, score: Callable[[np.ndarray, np.ndarray], float]) -> list[float]:
    """score(distances, relevant) of each query."""
    query_codes, query_labels, database_codes, database_labels = data
    queries = zip(query_codes, query_labels, strict=True)
    return [score(hamming(q, database_codes), database_labels == y) for q, y in queries]


def over_orders(score: Score) -> Callable[[np.ndarray, np.ndarray], float]:
    """Mean of a score over all orders of tied items."""

    def mean(distance: np.ndarray, relevant: np.ndarray) -> float:
        buckets = [relevant[distance == d] for d in np.unique(distance)]
        orders = product(*(permutations(bucket) for bucket in buckets))
        return float(np.mean([score(np.concatenate(order)) for order in orders]))

    return mean


def plain_orders(score: Score) -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    """A score under each way with ties."""
    return {
        "expected": over_orders(score),
        "index": lambda d, r: score(r[np.argsort(d, kind="stable")]),
        "best": lambda d, r: score(r[np.lexsort((~r, d))]),
        "worst": lambda d, r: score(r[np.lexsort((r, d))]),
    }


def plain_ap(relevant: np.ndarray, k: int | None = None) -> float:
    hits = 0
    total = 0.0
    for rank, item in enumerate(relevant[:k], 1):
        if item:
            hits += 1
            total += hits / rank
    reachable = int(relevant.sum()) if k is None else min(k, int(relevant.sum()))
    return total / reachable if reachable else 0.0


def plain_r_precision(relevant: np.ndarray) -> float:
    count = int(relevant.sum())
    return float(relevant[:count].sum() / count) if count else 0.0
