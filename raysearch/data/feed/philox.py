"""Random numbers that follow from a place alone: Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011) over arrays.

A counter-based generator turns a counter into four random words by itself, without a state and without the words of any
other counter. So an array of counters becomes an array of words in a few vector operations; NumPy's own Philox, which
`episodes` takes, seeks one counter at a time.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

_ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_STEPS = 0x9E3779B9, 0xBB67AE85  # of the two words of the key, a round
_WORD, _BITS = 0xFFFFFFFF, 32


def philox_words(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """The words (4, ...) of counters (4, ...), each of four 32-bit words, under a key of two.

    Example:
        >>> [f"{word:08x}" for word in philox_words(np.zeros(4, dtype=np.uint64), (0, 0))]
        ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    low, bits = np.uint64(_WORD), np.uint64(_BITS)
    first, second, third, fourth = counters.astype(np.uint64)
    for turn in range(_ROUNDS):
        keys = [np.uint64((word + turn * step) & _WORD) for word, step in zip(key, _STEPS, strict=True)]
        left, right = first * _MULTIPLIERS[0], third * _MULTIPLIERS[1]
        first, second = (right >> bits) ^ second ^ keys[0], right & low
        third, fourth = (left >> bits) ^ fourth ^ keys[1], left & low
    return np.stack([first, second, third, fourth])


def uniforms(key: Sequence[int], counters: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Numbers (B, count) uniform from 0 to below 1, float64; the first ones are the same whatever `count` is.

    Args:
        key: integers that name a stream, as many as there need be.
        counters: one to three arrays (B,) of integers from 0 to below 2^32, which name a place in it.
        count: of the numbers of each place.

    Example:
        >>> rows = np.array([5, 3, 5])
        >>> numbers = uniforms((0, 7), [rows], 2)
        >>> bool((numbers[0] == numbers[2]).all()), bool((numbers[0] == numbers[1]).any())
        (True, False)
    """
    assert 1 <= len(counters) <= 3, "the fourth word of a counter counts its blocks of numbers"
    rows, blocks = len(counters[0]), -(-count // 4)
    places = np.zeros((4, rows, blocks), dtype=np.uint64)
    for place, counter in zip(places, counters, strict=False):
        assert not rows or (counter.min() >= 0 and counter.max() <= _WORD), "a counter is a 32-bit word"
        place[:] = counter[:, None]
    places[3] = np.arange(blocks)
    drawn = np.moveaxis(philox_words(places, _hashed(key)), 0, 2).reshape(rows, 4 * blocks)
    return drawn[:, :count] * 2.0**-_BITS


def _hashed(key: Sequence[int]) -> tuple[int, int]:
    """Two words of any number of integers, none of which may be lost or run into the next."""
    digest = hashlib.sha256(" ".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")
