"""Figures with ties against every order of the tied items, drawn orders, and plain sorting."""

import math

import numpy as np
import pytest
import torch

from raysearch.tasks.metrics import Ranking, average_precision, hamming_metrics, mean_average_precision

from .plain_ranking import at_distances, by_query, plain_ap, plain_orders, plain_r_precision, retrieval, trained

TIES = ("expected", "index", "best", "worst")


def test_hand_value() -> None:
    # One irrelevant item nearest, then a tie of one relevant and one irrelevant: (1/2 + 1/3) / 2.
    data = np.ones((1, 4)), [7], at_distances([0, 2, 2], 4), [1, 7, 1]
    assert mean_average_precision(*data) == pytest.approx(0.416667, abs=1e-6)
    assert mean_average_precision(*data, ties="best") == pytest.approx(1 / 2)
    assert mean_average_precision(*data, ties="index") == pytest.approx(1 / 2)
    assert mean_average_precision(*data, ties="worst") == pytest.approx(1 / 3)
    ranking = Ranking.from_codes(*data)
    assert [average_precision(ranking, k=k)[0] for k in (1, 2, 3)] == pytest.approx([0, 1 / 4, 5 / 12])
    assert hamming_metrics.r_precision(ranking).tolist() == [0]
    assert hamming_metrics.precision_by_radius(ranking)[0] == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3])
    assert hamming_metrics.recall_by_radius(ranking)[0].tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("seed", range(8))
def test_every_order_of_small_ties(seed: int) -> None:
    # Two or three bits over seven items: buckets of every mixture, some of them with the whole database.
    data = retrieval(seed, m=3, n=7, bits=1 + seed % 3, classes=2)
    ranking = Ranking.from_codes(*data)
    for ties, score in plain_orders(plain_ap).items():
        assert ranking.each(average_precision(ranking, ties)) == pytest.approx(by_query(data, score), rel=1e-9), ties
        assert mean_average_precision(*data, ties=ties) == pytest.approx(np.mean(by_query(data, score)), rel=1e-9)
    score = plain_orders(plain_r_precision)["expected"]
    assert ranking.each(hamming_metrics.r_precision(ranking)) == pytest.approx(by_query(data, score), rel=1e-9)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6, 9])
@pytest.mark.parametrize("seed", range(4))
def test_every_order_of_small_ties_cut_at_k(seed: int, k: int) -> None:
    data = retrieval(seed, m=3, n=6, bits=1 + seed % 3, classes=2)
    ranking = Ranking.from_codes(*data)
    for ties, score in plain_orders(lambda relevant: plain_ap(relevant, k)).items():
        values = ranking.each(average_precision(ranking, ties, k))
        assert values == pytest.approx(by_query(data, score), rel=1e-9), ties


def test_drawn_orders_of_larger_ties() -> None:
    data = retrieval(20, m=4, n=120, bits=6, classes=5)
    draw = np.random.default_rng(21)
    k = 40  # parts tied items, for each of the queries

    def drawn(distance: np.ndarray, relevant: np.ndarray) -> tuple[float, float, float]:
        nearest = np.sort(distance)
        assert nearest[k - 1] == nearest[k]
        keys = distance + draw.random((4000, len(distance)))
        ranked = relevant[np.argsort(keys, 1)]
        gains = ranked.cumsum(1) / np.arange(1, len(distance) + 1) * ranked
        count = relevant.sum()
        of_k = gains[:, :k].sum(1).mean() / min(k, count)
        return gains.sum(1).mean() / count, of_k, ranked[:, :count].mean()

    plain = np.mean(by_query(data, drawn), axis=0)
    ranking = Ranking.from_codes(*data)
    figures = average_precision(ranking), average_precision(ranking, k=k), hamming_metrics.r_precision(ranking)
    # An order's AP deviates by 0.015, its R-precision by 0.05; the means of 16,000 by 0.00012 and 0.0004. Five of each.
    assert np.abs([ranking.mean(values) for values in figures] - plain).max() < 0.002
    assert abs(ranking.mean(figures[0]) - plain[0]) < 0.0006
    assert abs(ranking.mean(figures[1]) - plain[1]) < 0.0006


@pytest.mark.parametrize("make", [retrieval, trained])
@pytest.mark.parametrize("bits", [2, 12, 100, 300])
def test_radii_one_by_one(bits: int, make) -> None:
    data = make(bits, m=30, n=90, bits=bits, classes=6)
    data[1][:5] = 99  # classes that the database has not

    def radii(distance: np.ndarray, relevant: np.ndarray) -> list[tuple[float, ...]]:
        rows = []
        for radius in range(bits + 1):
            hits = relevant[distance <= radius]
            precision = hits.sum() / len(hits) if len(hits) else 0.0
            recall = hits.sum() / relevant.sum() if relevant.sum() else 0.0
            rows.append((precision, recall, float(hits.any()), float(len(hits) > 0)))
        return rows

    plain = np.array(by_query(data, radii)).transpose(2, 0, 1)  # figures, queries, radii
    ranking = Ranking.from_codes(*data)
    assert ranking.each(hamming_metrics.precision_by_radius(ranking)) == pytest.approx(plain[0])
    assert ranking.each(hamming_metrics.recall_by_radius(ranking)) == pytest.approx(plain[1])
    assert ranking.mean(hamming_metrics.recall_by_radius(ranking)) == pytest.approx(plain[1].mean(0))
    assert ranking.each(hamming_metrics.lookup_success(ranking)).tolist() == plain[2, :, 2].tolist()
    assert ranking.each(hamming_metrics.lookup_nonempty(ranking)).tolist() == plain[3, :, 2].tolist()
    assert ranking.each(hamming_metrics.lookup_success(ranking, radius=0)).tolist() == plain[2, :, 0].tolist()
    assert ranking.mean(hamming_metrics.lookup_success(ranking, radius=1)) == pytest.approx(plain[2, :, 1].mean())


@pytest.mark.parametrize("ties", TIES)
def test_without_ties_all_ways_are_plain(ties: str) -> None:
    draw = np.random.default_rng(1)
    database = at_distances(draw.permutation(25).tolist(), 24)
    data = np.stack([np.ones(24), -np.ones(24)]), np.array([0, 1]), database, draw.integers(3, size=25)
    expected = by_query(data, lambda d, r: plain_ap(r[np.argsort(d)]))
    assert mean_average_precision(*data, ties=ties) == pytest.approx(np.mean(expected), rel=1e-9)
    at_ten = by_query(data, lambda d, r: plain_ap(r[np.argsort(d)], 10))
    ranking = Ranking.from_codes(*data)
    assert ranking.each(average_precision(ranking, ties, k=10)) == pytest.approx(at_ten, rel=1e-9)
    r_precisions = by_query(data, lambda d, r: plain_r_precision(r[np.argsort(d)]))
    assert ranking.each(hamming_metrics.r_precision(ranking)) == pytest.approx(r_precisions, rel=1e-9)


@pytest.mark.parametrize("k", [None, 50])
@pytest.mark.parametrize("bits", [3, 8, 48])
@pytest.mark.parametrize("seed", range(5))
def test_bounds_hold_the_expectation(seed: int, bits: int, k: int | None) -> None:
    ranking = Ranking.from_codes(*retrieval(seed, m=20, n=300, bits=bits, classes=6))
    value = {ties: average_precision(ranking, ties, k) for ties in TIES}
    assert (value["worst"] <= value["expected"]).all()
    assert (value["expected"] <= value["best"]).all()
    assert (value["worst"] <= value["index"] + 1e-12).all()
    assert (value["index"] <= value["best"] + 1e-12).all()
    assert ranking.mean(value["worst"]) < ranking.mean(value["expected"]) < ranking.mean(value["best"])


@pytest.mark.parametrize("make", [retrieval, trained])
@pytest.mark.parametrize("bits", [5, 70, 260])
def test_index_order_is_a_stable_sort(bits: int, make) -> None:
    data = make(2, m=30, n=400, bits=bits, classes=4)
    ranking = Ranking.from_codes(*data)
    for k in (None, 60):
        plain = by_query(data, lambda d, r, k=k: plain_ap(r[np.argsort(d, kind="stable")], k))
        assert ranking.each(average_precision(ranking, "index", k)) == pytest.approx(plain, rel=1e-9)


def test_index_order_of_a_sorted_list() -> None:
    # Relevant items first in the list gain by it, and lose when the list is turned.
    data = retrieval(2, m=30, n=400, bits=5, classes=4)
    first = np.argsort(data[3] != 0, kind="stable")
    zeros = np.zeros(30, dtype=int)
    for order, ties in ((first, "best"), (first[::-1], "worst")):
        sorted_list = data[0], zeros, data[2][order], data[3][order]
        by_index, bound = (mean_average_precision(*sorted_list, ties=t) for t in ("index", ties))
        assert by_index == pytest.approx(bound, rel=1e-9)


@pytest.mark.parametrize("ties", TIES)
def test_a_query_without_relevant_items_counts_as_zero(ties: str) -> None:
    codes, labels, *database = retrieval(3, m=6, n=50, bits=4, classes=3)
    known = mean_average_precision(codes, labels, *database, ties=ties)
    strange = np.full(6, 99)
    both = mean_average_precision(np.tile(codes, (2, 1)), np.concatenate([labels, strange]), *database, ties=ties)
    assert both == pytest.approx(known / 2, rel=1e-9)
    assert mean_average_precision(codes, strange, *database, ties=ties) == 0
    assert not hamming_metrics.r_precision(Ranking.from_codes(codes, strange, *database)).any()


@pytest.mark.parametrize("ties", TIES)
def test_many_queries_are_the_mean_of_few(ties: str) -> None:
    codes, labels, *database = retrieval(4, m=5, n=2000, bits=6, classes=4)
    few = [mean_average_precision(codes[k : k + 1], labels[k : k + 1], *database, ties=ties) for k in range(5)]
    order = np.random.default_rng(0).integers(5, size=850)
    value = mean_average_precision(codes[order], labels[order], *database, ties=ties)
    assert value == pytest.approx(math.fsum(few[k] for k in order) / 850, rel=1e-12)


@pytest.mark.parametrize("bits", [6, 160, 300])
def test_types_of_codes(bits: int) -> None:
    # 160 bits: an inner product of int8 codes leaves int8; 300: a distance leaves uint8.
    data = retrieval(5, m=10, n=80, bits=bits, classes=4)
    expected = np.mean(by_query(data, lambda d, r: plain_ap(r[np.argsort(d, kind="stable")])))
    labels = torch.from_numpy(data[1]), torch.from_numpy(data[3])
    for dtype in (torch.int8, torch.int64, torch.float32, torch.float64):
        query, database = (torch.from_numpy(codes).to(dtype) for codes in (data[0], data[2]))
        value = mean_average_precision(query, labels[0], database, labels[1], ties="index")
        assert isinstance(value, float)
        assert value == pytest.approx(expected, rel=1e-9)
    for dtype in (np.int8, np.int64, np.float32, np.float64):
        arrays = data[0].astype(dtype), data[1], data[2].astype(dtype), data[3]
        assert mean_average_precision(*arrays, ties="index") == pytest.approx(expected, rel=1e-9)
    mixed = torch.from_numpy(data[0]).float(), data[1], data[2] > 0, labels[1]
    assert mean_average_precision(*mixed, ties="index") == pytest.approx(expected, rel=1e-9)
    strided = np.repeat(data[0], 2, axis=1)[:, ::2], data[1], np.asfortranarray(data[2]), data[3]
    assert mean_average_precision(*strided, ties="index") == pytest.approx(expected, rel=1e-9)


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
    ranking = Ranking.from_codes(query, query_labels, database, database_labels)
    with pytest.raises(ValueError, match="best"):
        average_precision(ranking, "stable")
    with pytest.raises(ValueError, match="k=0 leaves no items"):
        average_precision(ranking, k=0)
