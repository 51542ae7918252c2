"""What class codes are like, against looking at each class and each pair of classes."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from raysearch.tasks.metrics import ClassCodes, Ranking

from .plain_ranking import trained


def described(codes: np.ndarray, labels: np.ndarray) -> ClassCodes:
    # The query's class has no item: it is no class of the database.
    return ClassCodes.from_database(Ranking.from_codes(codes[:1], [-1], codes, labels).database)


@pytest.mark.parametrize("bits", [5, 24, 90])
@pytest.mark.parametrize("seed", range(3))
def test_class_by_class(seed: int, bits: int) -> None:
    _, _, codes, labels = trained(seed, m=1, n=200, bits=bits, classes=12)
    code_of_class = {}
    distinct = []
    for label in np.unique(labels):
        codes_of_class = Counter(map(tuple, codes[labels == label].tolist()))
        (code_of_class[label], highest), *others = codes_of_class.most_common()
        assert all(count < highest for _, count in others)  # no draw
        distinct.append(len(codes_of_class))
    distances = {
        pair: sum(np.array(code_of_class[pair[0]]) != code_of_class[pair[1]]) for pair in combinations(code_of_class, 2)
    }
    nearest = [min(d for pair, d in distances.items() if label in pair) for label in code_of_class]
    result = described(codes, labels)
    assert result.classes == 12
    assert result.codes_per_class == pytest.approx(np.mean(distinct))
    assert result.distinct == len(set(code_of_class.values()))
    assert result.least_distance == min(distances.values()) == 0  # `trained` has two classes of one code
    assert result.mean_least_distance == pytest.approx(np.mean(nearest))


def test_by_hand() -> None:
    codes = np.array([[1, 1, 1, 1]] * 3 + [[-1, -1, -1, 1]] + [[-1, -1, -1, -1]] * 2 + [[1, 1, -1, -1]])
    result = described(codes, np.array([0, 0, 0, 0, 1, 1, 2]))
    # Codes 1111, ----, 11--: distances 4, 2, 2.
    assert result == ClassCodes(3, pytest.approx(4 / 3), 3, 2.0, 2.0)


def test_the_order_of_items_does_not_choose_between_draws() -> None:
    codes = np.array([[1, 1, 1], [-1, 1, 1], [-1, -1, -1]])
    labels = np.array([0, 0, 1])
    forward = described(codes, labels)
    backward = described(codes[::-1].copy(), labels[::-1].copy())
    assert forward == backward


def test_one_class_has_no_other() -> None:
    result = described(np.ones((4, 3)), np.zeros(4))
    assert (result.classes, result.codes_per_class, result.distinct) == (1, 1.0, 1)
    assert np.isnan(result.least_distance)
    assert np.isnan(result.mean_least_distance)


def test_no_items() -> None:
    database = Ranking.from_codes(np.ones((1, 3)), [0], np.ones((0, 3)), []).database
    with pytest.raises(ValueError, match="empty"):
        ClassCodes.from_database(database)
