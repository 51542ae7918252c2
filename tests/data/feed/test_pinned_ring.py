"""The ring of two buffers: order, content, no buffer filled while it is in use, errors, and an end of its thread.

Links on the CPU stand in for a GPU's: one copies late, as a busy stream does.
"""

import gc
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.data.feed import HostLink, ImageSet, PinnedRing

CPU = torch.device("cpu")


def image_set(count: int = 12, rows: np.ndarray | None = None) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)
    return ImageSet(pixels, np.arange(count if rows is None else len(rows)), rows)


def batches(*sizes: int, count: int = 12) -> list[Tensor]:
    draws = torch.Generator().manual_seed(1)
    return [torch.randint(count, (size,), generator=draws) for size in sizes]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("images")]


class LateLink:
    """Copies a buffer only when the batch is used, and frees it only when the test lets the device get there."""

    device = CPU

    def __init__(self) -> None:
        self.reached: list[threading.Event] = []
        self.waited = 0

    def send(self, buffer: Tensor) -> Tensor:
        return buffer

    def receive(self, sent: Tensor) -> tuple[Tensor, threading.Event]:
        self.reached.append(threading.Event())
        return sent, self.reached[-1]

    def wait(self, mark: threading.Event) -> None:
        assert mark.wait(10)
        self.waited += 1


@pytest.mark.parametrize("sizes", [(), (3,), (3, 3), (4, 1, 5, 2, 5), (0,), (2, 0, 3)])
def test_batches_come_in_order(sizes: tuple[int, ...]) -> None:
    for some in (image_set(), image_set(rows=np.arange(12)[::-1].copy())):
        rows = batches(*sizes)
        taken = list(PinnedRing(some, rows, HostLink(CPU)))
        assert len(taken) == len(rows)
        for images, part in zip(taken, rows, strict=True):
            assert torch.equal(images, some.take(part, CPU))
    assert not threads()


def test_a_buffer_is_filled_again_only_after_the_device_has_used_it() -> None:
    some = image_set()
    rows = batches(3, 3, 3, 3, 3)
    link = LateLink()
    ring = PinnedRing(some, rows, link)
    for index, part in enumerate(rows):
        images = next(ring)
        if index >= 2:
            assert link.waited >= index - 1
        time.sleep(0.02)  # the thread would fill the buffer now, if it did not wait for the device
        assert torch.equal(images, some.take(part, CPU))
        link.reached[-1].set()
    assert next(ring, None) is None


def test_the_next_batch_is_loaded_before_it_is_asked_for() -> None:
    class Counted:
        shape = (12, 4, 4, 3)
        loaded = 0

        def prefetch(self, rows: np.ndarray) -> None: ...
        def close(self) -> None: ...
        def __getitem__(self, rows: np.ndarray) -> np.ndarray:
            Counted.loaded += 1
            return np.zeros((len(rows), 4, 4, 3), np.uint8)

    ring = PinnedRing(ImageSet(Counted(), np.arange(12)), batches(2, 2, 2, 2, 2), HostLink(CPU))

    def loaded(count: int) -> bool:
        deadline = time.monotonic() + 5
        while Counted.loaded < count and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.02)
        return Counted.loaded == count

    assert loaded(2)
    next(ring)
    assert loaded(3)
    ring.close()
    assert loaded(3)


class Failing:
    """A stream whose third batch cannot be read."""

    shape = (12, 4, 4, 3)

    def __init__(self) -> None:
        self.calls = 0

    def prefetch(self, rows: np.ndarray) -> None: ...
    def close(self) -> None: ...
    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls == 3:
            raise OSError("the shard is damaged")
        return np.zeros((len(rows), 4, 4, 3), np.uint8)


def test_an_error_comes_in_its_turn_and_ends_the_thread() -> None:
    ring = PinnedRing(ImageSet(Failing(), np.arange(12)), batches(2, 2, 2, 2), HostLink(CPU))
    next(ring)
    next(ring)
    with pytest.raises(OSError, match="damaged"):
        next(ring)
    assert not threads()
    assert next(ring, None) is None


def test_a_row_that_does_not_exist_is_an_error() -> None:
    ring = PinnedRing(image_set(), [torch.tensor([1, 12])], HostLink(CPU))
    with pytest.raises(IndexError, match="of 12 images"):
        next(ring)
    assert not threads()


def test_a_ring_that_is_closed_or_forgotten_leaves_no_thread_and_no_memory() -> None:
    def forget(*, close: bool) -> list[weakref.ref[Any]]:
        some = image_set()
        ring = PinnedRing(some, batches(*[2] * 50), HostLink(CPU))
        next(ring)
        if close:
            ring.close()
            ring.close()
            assert not threads()
        return [weakref.ref(ring), weakref.ref(some)]

    gc.collect()
    gc.disable()
    try:
        for close in (True, False):
            references = forget(close=close)
            deadline = time.monotonic() + 5
            while threads() and time.monotonic() < deadline:
                time.sleep(0.005)
            assert not threads()
            assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()


def test_on_a_device_without_numbers_shapes_and_types_are_kept() -> None:
    meta = torch.device("meta")
    taken = list(PinnedRing(image_set(), batches(3, 5), HostLink(meta)))
    assert [(images.device, images.shape, images.dtype) for images in taken] == [
        (meta, (3, 4, 4, 3), torch.uint8),
        (meta, (5, 4, 4, 3), torch.uint8),
    ]
