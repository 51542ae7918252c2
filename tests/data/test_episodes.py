"""Episodes: what (seed, index) fixes stays fixed, draws are uniform, and support and queries do not meet."""

import hashlib
import subprocess
import sys
import warnings
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from raysearch.core import UserError
from raysearch.data.episodes import Episodes, episode

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10, 34), 30))  # 24 classes of 30 in no order


def by_hand(
    labels: np.ndarray, index: int, seed: int, ways: int, shots: int, queries: int
) -> tuple[list[list[int]], list[list[int]]]:
    """The definition written plainly for classes that are large enough: lists that images are taken out of."""
    words = np.random.Philox(key=seed, counter=[0, 0, index, 0])

    def take(left: list[int]) -> int:
        """A swap with the front, so that the order of what is left is the shuffle's."""
        at = int(words.random_raw()) * len(left) // 2**64
        left[0], left[at] = left[at], left[0]
        return left.pop(0)

    left = sorted(set(labels.tolist()))
    drawn = [take(left) for _ in range(ways)]
    images = {label: [row for row in range(len(labels)) if labels[row] == label] for label in drawn}
    query = [[take(images[label]) for _ in range(queries)] for label in drawn]
    support: list[list[int]] = [[] for _ in drawn]
    for _ in range(shots):
        for way, label in enumerate(drawn):
            support[way].append(take(images[label]))
    return support, query


@pytest.mark.parametrize(("ways", "shots", "queries"), [(5, 1, 15), (3, 5, 4), (24, 2, 28), (1, 1, 1)])
def test_draws_are_the_plain_definition(ways: int, shots: int, queries: int) -> None:
    for seed, index in [(0, 0), (0, 1), (1, 0), (7, 12345), (2**64 - 1, 2**40)]:
        support, query = episode(LABELS, index, seed, ways, shots, queries)
        assert (support.tolist(), query.tolist()) == by_hand(LABELS, index, seed, ways, shots, queries)
        assert support.dtype == query.dtype == np.int64


def test_frozen_episodes() -> None:
    """Numbers that must never change: results of finished cells were measured on these episodes."""
    support, query = episode(LABELS, index=0, seed=0, ways=3, shots=2, queries=2)
    assert LABELS[support].tolist() == [[10, 10], [16, 16], [14, 14]]
    assert support.tolist() == [[119, 443], [448, 305], [156, 629]]
    assert query.tolist() == [[369, 334], [279, 702], [665, 209]]
    drawn = Episodes(LABELS, ways=5, shots=5, queries=15, seed=2021).batch(0, 100)
    digest = hashlib.sha256(b"".join(rows.astype("<i8").tobytes() for rows in drawn)).hexdigest()
    assert digest[:16] == "0150204e2608c0ac"


def test_episodes_do_not_depend_on_batch_order_or_process() -> None:
    one = Episodes(LABELS, ways=5, shots=1, queries=15, seed=3)
    support, query = one.batch(0, 12)
    assert support.shape == (12, 5, 1)
    assert query.shape == (12, 5, 15)
    for size in (1, 4, 5):
        parts = [one.batch(start, min(size, 12 - start)) for start in range(0, 12, size)][::-1]
        assert np.array_equal(np.concatenate([part[0] for part in parts[::-1]]), support)
        assert np.array_equal(np.concatenate([part[1] for part in parts[::-1]]), query)
    code = (
        "import numpy as np; from raysearch.data.episodes import episode;"
        "labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10, 34), 30));"
        "print(episode(labels, 11, 3, 5, 1, 15)[1].tolist())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(query[11].tolist())


def test_more_shots_keep_classes_queries_and_earlier_supports() -> None:
    for index in range(50):
        drawn = [episode(LABELS, index, 5, ways=5, shots=shots, queries=15) for shots in (1, 2, 5, 10)]
        for (fewer, queries), (more, same) in pairwise(drawn):
            assert np.array_equal(queries, same)
            assert np.array_equal(fewer, more[:, : fewer.shape[1]])


def test_support_and_queries_are_distinct_and_of_their_class() -> None:
    support, query = Episodes(LABELS, ways=6, shots=5, queries=25, seed=1).batch(0, 40)
    for supports, queries in zip(support, query, strict=True):
        rows = np.concatenate([supports, queries], axis=1)
        assert len(set(rows.ravel().tolist())) == rows.size
        assert (LABELS[rows] == LABELS[rows][:, :1]).all()
        assert len(set(LABELS[supports[:, 0]].tolist())) == 6


def test_classes_and_images_are_uniform() -> None:
    """Chi-square at a fixed seed: a fair sampler is far inside the bound, and one that favours places is far out."""
    labels = np.repeat(np.arange(8), 6)
    support, query = Episodes(labels, ways=3, shots=1, queries=2, seed=11).batch(0, 8000)

    def p(counts: np.ndarray) -> float:
        return float(stats.chisquare(counts).pvalue)

    assert p(np.bincount(labels[support[:, 0, 0]])) > 1e-3
    assert p(np.bincount(labels[support[:, 2, 0]])) > 1e-3
    first_two = np.bincount(8 * labels[support[:, 0, 0]] + labels[support[:, 1, 0]], minlength=64).reshape(8, 8)
    assert first_two.diagonal().sum() == 0
    assert p(first_two[~np.eye(8, dtype=bool)]) > 1e-3
    # within a way: the support's place, a query's place, and the two together
    places, others = support[..., 0].ravel() % 6, query[..., 1].ravel() % 6
    assert p(np.bincount(places)) > 1e-3
    assert p(np.bincount(others)) > 1e-3
    pairs = np.bincount(6 * places + others, minlength=36).reshape(6, 6)
    assert p(pairs[~np.eye(6, dtype=bool)]) > 1e-3


def test_neighbouring_seeds_and_indices_are_unrelated() -> None:
    labels = np.repeat(np.arange(20), 5)
    firsts = {seed: Episodes(labels, 1, 1, 1, seed).batch(0, 4000)[0][:, 0, 0] for seed in (0, 1)}
    assert abs(stats.spearmanr(firsts[0], firsts[1]).statistic) < 0.06  # four standard errors
    assert abs(stats.spearmanr(firsts[0][1:], firsts[0][:-1]).statistic) < 0.06


def test_small_classes_repeat_queries_and_keep_the_support_apart() -> None:
    sizes = [16, 9, 6, 5, 1]
    labels = np.repeat(np.arange(5), sizes)
    with pytest.warns(UserWarning, match="4 of 5 classes have fewer than the 15 images that 5 shots and 10 queries"):
        episodes = Episodes(labels, ways=5, shots=5, queries=10, seed=0)
    for index in range(30):
        for supports, queries in zip(*episodes.draw(index), strict=True):
            size = sizes[labels[supports[0]]]
            assert len(set(supports.tolist())) == min(5, size)
            assert len(set(queries.tolist())) == min(10, size - 5 if size > 5 else size)
            if size > 5:
                assert not set(supports.tolist()) & set(queries.tolist())


def test_the_warning_comes_once_a_call_site_and_names_it() -> None:
    labels = np.repeat(np.arange(5), 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for index in range(3):
            episode(labels, index, 0, ways=5, shots=1, queries=15)
        for _ in range(3):
            Episodes(labels, ways=5, shots=1, queries=15, seed=0)
        episode(labels, 0, 0, ways=5, shots=1, queries=2)  # three images are enough
    assert [one.filename for one in caught] == [__file__] * 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ways": 25}, "25-way episodes need 25 classes, and these images have 24"),
        ({"shots": 0}, "episodes.shots must be 1 or more, not 0"),
        ({"queries": 0}, "episodes.queries must be 1 or more"),
        ({"seed": -1}, "seed of episodes must be 0 or more"),
    ],
)
def test_what_cannot_work_is_said(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Episodes(LABELS, **{"ways": 5, "shots": 1, "queries": 15, "seed": 0, **wrong})


def test_wrong_calls() -> None:
    with pytest.raises(UserError, match="these images have 0"):
        Episodes(np.zeros(0, np.int64), 1, 1, 1, 0)
    for labels in (np.zeros((2, 2), np.int64), np.zeros(4)):
        with pytest.raises(ValueError, match="one row of integers"):
            Episodes(labels, 1, 1, 1, 0)
    with pytest.raises(ValueError, match="index is 0 or more"):
        episode(LABELS, -1, 0, 5, 1, 15)
