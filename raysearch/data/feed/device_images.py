"""Decoded images that stay in the memory of a device, from one cell of a worker to the next.

A batch is then an `index_select` on the device: nothing is gathered on the host, and nothing is copied. The images are
bytes: CUB-200-2011 at 224 pixels takes 1.7 GiB.
"""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from raysearch.data.feed.image_set import Pixels
from raysearch.data.feed.transfer import gather_images, pinned_buffer

_PIECE = 64 << 20  # bytes that are copied at once
_Identity = tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]


class _HeldImages(NamedTuple):
    pixels: Pixels  # held too: the address of its memory is its identity
    copy: Tensor
    users: "weakref.WeakSet[Any]"  # an ended cell's are gone


class DeviceImages:
    """Sets of decoded images on one device, as many as fit. Those that no cell uses make room for others."""

    def __init__(self) -> None:
        self._held: dict[_Identity, _HeldImages] = {}

    @property
    def nbytes(self) -> int:
        """Return the bytes of all images that are held."""
        return sum(held.copy.nbytes for held in self._held.values())

    def find(self, pixels: Pixels, user: object) -> Tensor | None:
        """Return the images of an array on the device; None unless the same memory was copied before.

        Args:
            pixels: (n, side, side, 3) uint8, an array or pieces of one.
            user: images stay at least as long as their users.
        """
        held = self._held.get(_identity(pixels))
        if held is None:
            return None
        held.users.add(user)
        return held.copy

    def hold(self, pixels: Pixels, device: torch.device, room: int | None, user: object) -> Tensor | None:
        """Return the images of an array on the device. They are copied unless they are there.

        Args:
            pixels: (n, side, side, 3) uint8, an array or pieces of one.
            device: the device of the copies; the same in every call.
            room: bytes that all held images may take together; None for any number.
            user: images stay at least as long as their users.

        Returns:
            (n, side, side, 3) uint8 on the device; None if they do not fit.
        """
        copy = self.find(pixels, user)
        if copy is not None:
            return copy
        size = int(np.prod(pixels.shape))
        unused = [identity for identity, held in self._held.items() if not held.users]
        while room is not None and unused and self.nbytes + size > room:
            del self._held[unused.pop(0)]
        if room is not None and self.nbytes + size > room:
            return None
        try:
            copy = _copy(pixels, device)
        except torch.OutOfMemoryError:  # others took the memory meanwhile
            return None
        self._held[_identity(pixels)] = _HeldImages(pixels, copy, weakref.WeakSet([user]))
        return copy

    def drop(self) -> None:
        """Forget all images; their memory is free when their users have ended."""
        self._held.clear()


def _identity(pixels: Pixels) -> _Identity:
    """Return where the memory of the pixels is. Every cell gets an array of its own that maps the same memory."""
    arrays: Sequence[Any] = getattr(pixels, "pieces", (pixels,))
    return tuple((array.__array_interface__["data"][0], array.shape, array.strides) for array in arrays)


def _copy(pixels: Pixels, device: torch.device) -> Tensor:
    count, *shape = pixels.shape
    copy = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    step = max(1, _PIECE // int(np.prod(shape)))
    for start in range(0, count, step):
        numbers = np.arange(start, min(start + step, count))
        buffer = pinned_buffer((len(numbers), *shape), device)
        gather_images(pixels, numbers, buffer)
        copy[start : start + len(numbers)].copy_(buffer, non_blocking=True)
    return copy
