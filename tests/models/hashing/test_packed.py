"""Packed codes against codes compared bit by bit."""

import numpy as np
import pytest
import torch

from raysearch.models.hashing.packed import hamming, pack, unpack

BITS = (1, 7, 8, 12, 48, 63, 64, 65, 100, 128, 191, 192, 256, 300)


def drawn(seed: int, count: int, bits: int) -> np.ndarray:
    return np.random.default_rng(seed).choice([-1, 1], (count, bits))


def plain_words(code: np.ndarray) -> list[int]:
    """Bit k of a code is bit k % 64 of word k // 64."""
    words = [0] * ((len(code) + 63) // 64)
    for k, value in enumerate(code):
        if value == 1:
            words[k // 64] |= 1 << (k % 64)
    return words


@pytest.mark.parametrize("bits", BITS)
def test_order_of_the_bits_and_back(bits: int) -> None:
    codes = drawn(bits, 20, bits)
    words = pack(codes)
    assert words.dtype == np.uint64
    assert words.tolist() == [plain_words(code) for code in codes]
    assert unpack(words, bits).tolist() == codes.tolist()
    assert unpack(words, bits).dtype == np.int8


@pytest.mark.parametrize("bits", BITS)
def test_distances_bit_by_bit(bits: int) -> None:
    first = drawn(1, 13, bits)
    second = drawn(2, 17, bits)
    second[0] = -first[0]  # as far as can be
    plain = [[sum(a != b for a, b in zip(x, y, strict=True)) for y in second] for x in first]
    assert hamming(pack(first)[:, None], pack(second)).tolist() == plain
    assert hamming(pack(first), pack(second)[:13]).tolist() == [plain[k][k] for k in range(13)]
    assert plain[0][0] == bits


@pytest.mark.parametrize("bits", [12, 100])
def test_types_and_layouts(bits: int) -> None:
    codes = drawn(3, 30, bits)
    words = pack(codes).tolist()
    for dtype in (np.int8, np.int16, np.int64, np.float16, np.float32, np.float64):
        assert pack(codes.astype(dtype)).tolist() == words, dtype
    for dtype in (torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert pack(torch.from_numpy(codes).to(dtype)).tolist() == words, dtype
    assert pack(codes > 0).tolist() == words
    assert pack(torch.from_numpy(codes > 0)).tolist() == words
    assert pack(codes.tolist()).tolist() == words
    wide = np.repeat(np.repeat(codes, 2, axis=0), 3, axis=1)
    for strided in (wide[::2, ::3], np.asfortranarray(codes), codes[::-1, ::-1][::-1, ::-1], wide.T[::3, ::2].T):
        assert pack(strided).tolist() == words
        assert pack(torch.from_numpy(strided.copy().T).T).tolist() == words
    columns = np.asfortranarray(pack(codes))
    assert unpack(columns, bits).tolist() == codes.tolist()
    gradient = torch.from_numpy(codes).float().requires_grad_()
    assert pack(gradient).tolist() == words


def test_no_codes() -> None:
    assert pack(np.empty((0, 70))).shape == (0, 2)
    assert hamming(pack(np.empty((0, 70)))[:, None], pack(drawn(4, 3, 70))).shape == (0, 3)


@pytest.mark.parametrize("wrong", [0, 0.5, np.nan, 2, -3])
def test_what_is_no_code_is_refused(wrong: float) -> None:
    codes = drawn(5, 4, 9).astype(float)
    codes[2, 8] = wrong
    for given in (codes, torch.from_numpy(codes)):
        with pytest.raises(ValueError, match="take their signs"):
            pack(given)


def test_shapes_that_do_not_fit_are_refused() -> None:
    for codes in (np.ones(5), np.ones((2, 3, 4)), np.ones((3, 0))):
        with pytest.raises(ValueError, match="shape"):
            pack(codes)
    with pytest.raises(ValueError, match="1 and of 2 words"):
        hamming(pack(np.ones((2, 64))), pack(np.ones((2, 65))))
