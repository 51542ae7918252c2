"""Codes as words of 64 bits, and Hamming distances as the bits that differ: XOR, then a count of ones.

Bit `k` of a code is bit `k % 64` of its word `k // 64`, counted from the least significant; 1 stands for +1 and 0 for
-1. The last word is filled up with zeros, which differ in no two codes. Legend: `n` codes, `c` bits, `W` words.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint64]


def pack(codes: Any) -> Words:
    """Codes (n, c) in {-1, +1} as (n, W) words; a tensor on any device or an array, of any dtype; of bool, True is +1.

    Raises:
        ValueError: codes that are not (n, c) with at least one bit, or that hold anything but -1 and +1.

    >>> pack([[1, -1, 1], [-1, -1, 1]])
    array([[5],
           [4]], dtype=uint64)
    """
    if not isinstance(codes, Tensor):
        codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] == 0:
        raise ValueError(f"codes are (codes, bits) with at least one bit; these have shape {tuple(codes.shape)}")
    positive = codes
    if not str(codes.dtype).endswith("bool"):
        positive = codes == 1
        if not bool((positive | (codes == -1)).all()):
            raise ValueError("codes hold values other than -1 and +1; take their signs first")
    if isinstance(positive, Tensor):
        positive = positive.cpu().numpy()
    packed = np.packbits(positive, axis=1, bitorder="little")
    filled = np.zeros((len(packed), 8 * -(-packed.shape[1] // 8)), np.uint8)
    filled[:, : packed.shape[1]] = packed
    return filled.view("<u8").astype(np.uint64, copy=False)


def unpack(words: Words, bits: int) -> NDArray[np.int8]:
    """Words (n, W) as codes (n, bits) of -1 and +1.

    >>> unpack(pack([[1, -1, 1]]), 3)
    array([[ 1, -1,  1]], dtype=int8)
    """
    in_bytes = np.ascontiguousarray(words, dtype="<u8").view(np.uint8)
    return np.unpackbits(in_bytes, axis=1, count=bits, bitorder="little").astype(np.int8) * np.int8(2) - np.int8(1)


def hamming(one: Words, other: Words) -> NDArray[Any]:
    """Hamming distances of (..., W) and (..., W) words, broadcast: uint8, and uint16 where 255 could be passed.

    All pairs of (m, W) and (n, W) are `hamming(queries[:, None], database)`.

    >>> hamming(pack([[1, 1, 1]])[:, None], pack([[1, -1, 1], [-1, -1, -1]]))
    array([[1, 3]], dtype=uint8)
    """
    words = one.shape[-1]
    if other.shape[-1] != words:
        raise ValueError(f"codes of {words} and of {other.shape[-1]} words cannot be compared")
    total = np.bitwise_count(one[..., 0] ^ other[..., 0])
    if 64 * words > np.iinfo(np.uint8).max:
        total = total.astype(np.uint16)
    for word in range(1, words):
        total += np.bitwise_count(one[..., word] ^ other[..., word])
    return total
