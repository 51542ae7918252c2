"""Philox over arrays: published answers, a second writing of one counter, and numbers that tests of chance pass."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from raysearch.data.feed import uniforms
from raysearch.data.feed.philox import philox_words

# Known answers of the authors' library Random123 for philox4x32 with 10 rounds: counter, key, words.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def parsed(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def plain(counter: list[int], key: list[int]) -> list[int]:
    """Figure 2 and section 3.3 of the paper, in Python's integers."""
    for _ in range(10):
        high = [counter[0] * 0xD2511F53 >> 32, counter[2] * 0xCD9E8D57 >> 32]
        low = [counter[0] * 0xD2511F53 % 2**32, counter[2] * 0xCD9E8D57 % 2**32]
        counter = [high[1] ^ counter[1] ^ key[0], low[1], high[0] ^ counter[3] ^ key[1], low[0]]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return counter


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_words_are_the_published_ones(counter: str, key: str, answer: str) -> None:
    first, second = parsed(key)
    assert philox_words(np.array(parsed(counter), dtype=np.uint64), (first, second)).tolist() == parsed(answer)
    assert plain(parsed(counter), [first, second]) == parsed(answer)


def test_every_counter_of_an_array_has_its_own_words() -> None:
    counters = np.random.default_rng(0).integers(0, 2**32, (4, 5, 7), dtype=np.uint64)
    key = (2**32 - 1, 12345)
    drawn = philox_words(counters, key)
    for i in range(5):
        for j in range(7):
            assert drawn[:, i, j].tolist() == plain(counters[:, i, j].tolist(), list(key))


def test_numbers_follow_from_key_and_place_alone() -> None:
    places = [np.array([3, 0, 2**32 - 1, 8]), np.array([0, 1, 7, 5])]
    numbers = uniforms((1, 2), places, 9)
    for order in ([2], [3, 1], [1, 0, 3, 2], [0, 0]):
        assert np.array_equal(uniforms((1, 2), [place[order] for place in places], 9), numbers[order])
    for count in range(9):
        assert np.array_equal(uniforms((1, 2), places, count), numbers[:, :count])
    streams = [uniforms(key, places, 9) for key in [(1, 2), (1,), (12,), (1, 2, 0), (2, 1), (1 + 2**32, 2), (0, 1, 2)]]
    streams += [uniforms((1, 2), places[:1], 9)[1:], uniforms((1, 2), places[::-1], 9)]
    for first, second in combinations(streams, 2):
        assert not np.isin(first, second).any()


def test_numbers_are_uniform_and_independent() -> None:
    numbers = uniforms((0,), [np.arange(20_000)], 6)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    for column in numbers.T:
        assert stats.kstest(column, "uniform").pvalue > 0.01
        assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 4 / 20_000**0.5  # rows next to each other
    assert abs(np.triu(np.corrcoef(numbers.T), 1)).max() < 4 / 20_000**0.5
    by_key = np.array([uniforms((seed, 0), [np.zeros(1, dtype=np.int64)], 1)[0, 0] for seed in range(2000)])
    assert stats.kstest(by_key, "uniform").pvalue > 0.01
    pairs = uniforms((0,), [np.repeat(np.arange(150), 150), np.tile(np.arange(150), 150)], 1)
    assert stats.kstest(pairs[:, 0], "uniform").pvalue > 0.01


def test_a_counter_beyond_its_word_is_no_other_counter() -> None:
    for wrong in (-1, 2**32):
        with pytest.raises(AssertionError, match="32-bit"):
            uniforms((0,), [np.array([0, wrong])], 1)
