"""Codes packed into words of 64 bits, and their Hamming distances: XOR, then a count of ones.

Bit `k` of a code is bit `k % 64` of its word `k // 64`, counted from the least significant; 1 means +1 and 0 means -1.
The last word is padded with zeros, which are the same in all codes. Legend: `n` codes, `c` bits, `W` words.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint64]


def pack(codes: Any) -> Words:
    """Pack codes into words.

    Args:
        codes: (n, c) in {-1, +1}, a tensor on any device or an array, of any dtype; of bool, True is +1.

    Returns:
        (n, W) words.

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
    padded = np.zeros((len(packed), 8 * -(-packed.shape[1] // 8)), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<u8").astype(np.uint64, copy=False)


def unpack(words: Words, bits: int) -> NDArray[np.int8]:
    """Unpack words (n, W) into codes (n, bits) of -1 and +1.

    >>> unpack(pack([[1, -1, 1]]), 3)
    array([[ 1, -1,  1]], dtype=int8)
    """
    bytes_ = np.ascontiguousarray(words, dtype="<u8").view(np.uint8)
    return np.unpackbits(bytes_, axis=1, count=bits, bitorder="little").astype(np.int8) * np.int8(2) - np.int8(1)


def hamming(first: Words, second: Words) -> NDArray[Any]:
    """Return the Hamming distances of (..., W) and (..., W) words, broadcast.

    The dtype is uint8, or uint16 where a distance could exceed 255.

    `hamming(queries[:, None], database)` compares all pairs of (m, W) and (n, W).

    Raises:
        ValueError: different numbers of words.

    >>> hamming(pack([[1, 1, 1]])[:, None], pack([[1, -1, 1], [-1, -1, -1]]))
    array([[1, 3]], dtype=uint8)
    """
    words = first.shape[-1]
    if second.shape[-1] != words:
        raise ValueError(f"codes of {words} and of {second.shape[-1]} words cannot be compared")
    total = np.bitwise_count(first[..., 0] ^ second[..., 0])
    if 64 * words > np.iinfo(np.uint8).max:
        total = total.astype(np.uint16)
    for word in range(1, words):
        total += np.bitwise_count(first[..., word] ^ second[..., word])
    return total
