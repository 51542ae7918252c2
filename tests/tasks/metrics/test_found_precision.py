"""mAP@k divided by the relevant items found, against a published program written plainly, over all orders of ties."""

import numpy as np
import pytest

from raysearch.tasks.metrics import Ranking, average_precision, found_average_precision

from .plain_ranking import by_query, over_orders, retrieval, trained


def plain_found(relevant: np.ndarray, k: int) -> float:
    """ADSH's calc_topMap of one query: the mean of precisions at the relevant ranks among the first k."""
    ranks = np.flatnonzero(relevant[:k]) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else 0.0


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize("seed", range(4))
def test_the_mean_over_all_orders_of_tied_items(seed: int, k: int) -> None:
    data = retrieval(seed, m=6, n=7, bits=2, classes=2)
    ranking = Ranking.from_codes(*data)
    expected = by_query(data, over_orders(lambda relevant: plain_found(relevant, k)))
    assert ranking.each(found_average_precision(ranking, k)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("k", [10, 100])
def test_the_mean_over_random_orders_of_many_items(k: int) -> None:
    data = trained(3, m=20, n=400, bits=12, classes=5)
    ranking = Ranking.from_codes(*data)
    draw = np.random.default_rng(0)

    def mean(distance: np.ndarray, relevant: np.ndarray) -> float:
        keys = distance + draw.random((1000, len(distance)))  # ties in a random order
        return float(np.mean([plain_found(relevant[order], k) for order in keys.argsort(1)]))

    assert ranking.each(found_average_precision(ranking, k)) == pytest.approx(by_query(data, mean), abs=0.02)


def test_without_ties_it_is_the_larger_number_and_a_single_hit_at_the_top_is_perfect() -> None:
    ranking = Ranking.from_codes([[1, 1, 1]], [0], [[1, 1, 1], [1, 1, -1], [1, -1, -1], [-1, -1, -1]], [0, 1, 1, 0])
    assert found_average_precision(ranking, 3).tolist() == [1.0]
    assert average_precision(ranking, k=3).tolist() == [0.5]
    assert found_average_precision(ranking, 4) == pytest.approx(average_precision(ranking))


def test_queries_without_a_hit_and_an_empty_database() -> None:
    ranking = Ranking.from_codes([[1, 1]], [0], [[-1, -1], [1, 1]], [0, 1])
    assert found_average_precision(ranking, 1).tolist() == [0.0]
    queries, query_labels, database, labels = retrieval(9, m=5, n=3, bits=7, classes=2)
    empty = Ranking.from_codes(queries, query_labels, database[:0], labels[:0])
    assert not found_average_precision(empty, 10).any()
    with pytest.raises(ValueError, match="k=0 leaves no items"):
        found_average_precision(empty, 0)
