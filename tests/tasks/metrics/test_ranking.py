"""Histograms of distances against counting one by one; what is merged, held and refused."""

import tracemalloc

import numpy as np
import pytest
import torch

from raysearch.tasks.metrics import Ranking, average_precision
from raysearch.tasks.metrics import ranking as module

from .plain_ranking import Data, by_query, retrieval, trained


def check_histograms(data: Data) -> Ranking:
    ranking = Ranking.from_codes(*data)
    bits = np.shape(data[0])[1]
    items = by_query(data, lambda d, r: [(d == k).sum() for k in range(bits + 1)])
    relevant = by_query(data, lambda d, r: [(d[r] == k).sum() for k in range(bits + 1)])
    assert ranking.each(ranking.items).tolist() == np.array(items).tolist()
    assert ranking.each(ranking.relevant).tolist() == np.array(relevant).tolist()
    return ranking


@pytest.mark.parametrize("make", [retrieval, trained])
@pytest.mark.parametrize("bits", [3, 12, 48, 64, 65, 130, 255, 256, 300])
def test_histograms_one_by_one(bits: int, make) -> None:
    check_histograms(make(bits, m=40, n=150, bits=bits, classes=7))


@pytest.mark.parametrize("bits", [4, 70])
def test_what_is_merged(bits: int) -> None:
    queries, query_labels, database, labels = retrieval(0, m=25, n=60, bits=bits, classes=3)
    twice = np.tile(queries, (2, 1)), np.tile(query_labels, 2), np.tile(database, (3, 1)), np.tile(labels, 3)
    ranking = check_histograms(twice)
    queries_in_block = {(*code, label) for code, label in zip(queries.tolist(), query_labels, strict=True)}
    assert len(ranking.queries.codes) == len(ranking.items) == len(queries_in_block)
    assert ranking.queries.counts.sum() == 50
    assert len(ranking.database.codes) == len({tuple(code) for code in database.tolist()})
    histograms = {(*code, label) for code, label in zip(database.tolist(), labels, strict=True)}
    assert len(ranking.database.pairs.codes) == len(histograms)
    assert ranking.database.counts.sum() == ranking.database.pairs.counts.sum() == 180
    assert (ranking.items.sum(1) == 180).all()


@pytest.mark.parametrize("word", [0, 1, 2])
def test_codes_that_differ_in_one_word_are_not_merged(word: int) -> None:
    queries, query_labels, database, labels = retrieval(11, m=10, n=40, bits=150, classes=2)
    columns = np.arange(150) // 64 != word
    queries[:, columns] = database[:, columns] = 1
    ranking = check_histograms((queries, query_labels, database, labels))
    assert (len(ranking.queries.codes), len(ranking.database.codes)) == (10, 40)


def test_means_are_over_all_queries() -> None:
    data = retrieval(1, m=30, n=40, bits=2, classes=2)
    ranking = Ranking.from_codes(*data)
    assert len(ranking.items) == 8  # four codes by two classes, thirty queries
    values = np.random.default_rng(2).random((8, 3))
    assert ranking.mean(values) == pytest.approx(ranking.each(values).mean(0), rel=1e-12)
    assert isinstance(ranking.mean(values[:, 0]), float)
    assert ranking.mean(values[:, 0]) == pytest.approx(ranking.each(values[:, 0]).mean(), rel=1e-12)


@pytest.mark.parametrize("block", [1, 7, 200, 5000])
@pytest.mark.parametrize("make", [retrieval, trained])
def test_blocks_of_any_size_give_the_same(block: int, make, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(3, m=50, n=170, bits=20, classes=4)
    whole = Ranking.from_codes(*data)
    index = average_precision(whole, "index")
    monkeypatch.setattr(module, "BLOCK", block)
    parts = check_histograms(data)
    assert parts.items.tolist() == whole.items.tolist()
    assert parts.relevant.tolist() == whole.relevant.tolist()
    assert average_precision(parts, "index").tolist() == index.tolist()


@pytest.mark.parametrize("classes", [2, 400])
def test_memory_is_flat(classes: int) -> None:
    # All pairs of codes are 30 million, in bytes or more; the histograms and the codes are 1 MB.
    data = retrieval(4, m=1500, n=20_000, bits=32, classes=classes)
    tracemalloc.start()
    try:
        ranking = Ranking.from_codes(*data)
        average_precision(ranking, "index")
        average_precision(ranking, "expected")
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


def test_the_order_of_items_is_nothing_to_a_ranking() -> None:
    queries, query_labels, database, labels = retrieval(5, m=40, n=200, bits=6, classes=5)
    first = Ranking.from_codes(queries, query_labels, database, labels)
    shuffle = np.random.default_rng(6).permutation(200)
    of_queries = np.random.default_rng(7).permutation(40)
    second = Ranking.from_codes(queries[of_queries], query_labels[of_queries], database[shuffle], labels[shuffle])
    assert first.items.tolist() == second.items.tolist()
    assert first.relevant.tolist() == second.relevant.tolist()
    for ties in ("expected", "best", "worst"):  # not a bit differs
        assert first.mean(average_precision(first, ties)) == second.mean(average_precision(second, ties))


def test_labels_of_any_kind() -> None:
    queries, query_labels, database, labels = retrieval(8, m=20, n=50, bits=5, classes=4)
    plain = Ranking.from_codes(queries, query_labels, database, labels)
    far = np.array([-5, 10**12, 0, 7])
    for change in (far.__getitem__, lambda x: torch.from_numpy(x).int(), lambda x: x.astype(np.uint8), list):
        second = Ranking.from_codes(queries, change(query_labels), database, change(labels))
        assert second.each(second.relevant).tolist() == plain.each(plain.relevant).tolist()


def test_an_empty_database() -> None:
    queries, query_labels, database, labels = retrieval(9, m=5, n=3, bits=70, classes=2)
    ranking = Ranking.from_codes(queries, query_labels, database[:0], labels[:0])
    assert ranking.items.sum() == ranking.relevant.sum() == 0
    for ties in ("expected", "index", "best", "worst"):
        assert ranking.mean(average_precision(ranking, ties)) == 0


def test_what_does_not_fit_is_refused() -> None:
    queries, query_labels, database, labels = retrieval(10, m=4, n=9, bits=5, classes=2)
    for data, message in (
        ((queries[:, :4], query_labels, database, labels), r"\(4, 4\) and \(9, 5\)"),
        ((queries, query_labels, database[0], labels), "cannot be compared"),
        ((queries, query_labels[:3], database, labels), "one label"),
        ((queries, query_labels, database, labels[:8]), "one label"),
        ((queries, query_labels[:, None], database, labels), "one label"),
        ((queries[:0], query_labels[:0], database, labels), "no query"),
        ((queries * 0.5, query_labels, database, labels), "signs"),
        ((queries, query_labels, database * 0, labels), "signs"),
    ):
        with pytest.raises(ValueError, match=message):
            Ranking.from_codes(*data)
