"""Random numbers by counter: Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011) over arrays.

A counter-based generator maps each counter to four random words, without state. An array of counters becomes an array
of words in a few vector operations. NumPy's own Philox, which `episodes` uses, takes one counter at a time.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

_ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_STEPS = 0x9E3779B9, 0xBB67AE85  # increments of the key's two words per round
_WORD, _BITS = 0xFFFFFFFF, 32


def philox_words(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Return the random words (4, ...) of counters (4, ...), each four 32-bit words, under a key of two words.

    Example:
        >>> [f"{word:08x}" for word in philox_words(np.zeros(4, dtype=np.uint64), (0, 0))]
        ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    low = np.uint64(_WORD)
    bits = np.uint64(_BITS)
    first, second, third, fourth = counters.astype(np.uint64)
    for turn in range(_ROUNDS):
        keys = [np.uint64((word + turn * step) & _WORD) for word, step in zip(key, _STEPS, strict=True)]
        left = first * _MULTIPLIERS[0]
        right = third * _MULTIPLIERS[1]
        first, second = (right >> bits) ^ second ^ keys[0], right & low
        third, fourth = (left >> bits) ^ fourth ^ keys[1], left & low
    return np.stack([first, second, third, fourth])


def uniforms(key: Sequence[int], counters: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Return uniform numbers (B, count) from 0 to below 1, float64. A larger `count` only adds numbers.

    Args:
        key: integers that name a stream, any number of them.
        counters: one to three arrays (B,) of integers from 0 to below 2^32 that name a position in the stream.
        count: number of values per position.

    Example:
        >>> rows = np.array([5, 3, 5])
        >>> numbers = uniforms((0, 7), [rows], 2)
        >>> bool((numbers[0] == numbers[2]).all()), bool((numbers[0] == numbers[1]).any())
        (True, False)
    """
    assert 1 <= len(counters) <= 3, "the fourth word of a counter counts its blocks of numbers"
    rows = len(counters[0])
    blocks = -(-count // 4)
    places = np.zeros((4, rows, blocks), dtype=np.uint64)
    for place, counter in zip(places, counters, strict=False):
        assert not rows or (counter.min() >= 0 and counter.max() <= _WORD), "a counter is a 32-bit word"
        place[:] = counter[:, None]
    places[3] = np.arange(blocks)
    drawn = np.moveaxis(philox_words(places, _hashed(key)), 0, 2).reshape(rows, 4 * blocks)
    return drawn[:, :count] * 2.0**-_BITS


def _hashed(key: Sequence[int]) -> tuple[int, int]:
    """Return two words for any number of integers; different integers give different text."""
    digest = hashlib.sha256(" ".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")
