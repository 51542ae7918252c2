"""What a loader gives is the image set's own batch, and its clock counts indexing and copying alone."""

import time

import numpy as np
import pytest
import torch

from raysearch.data.feed import DeviceImages, ImageSet, device_images, pinned_ring, transfer
from raysearch.tasks.common import Loader, loader

DEVICES = [
    torch.device("cpu"),
    pytest.param(
        torch.device("cuda"), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
    ),
]
PAUSE = 0.03


class Slow(ImageSet):
    def take(self, rows: torch.Tensor, device: torch.device) -> torch.Tensor:
        time.sleep(PAUSE)
        return super().take(rows, device)


def images(kind: type[ImageSet]) -> ImageSet:
    rng = np.random.default_rng(0)
    return kind(rng.integers(0, 256, (9, 8, 8, 3)).astype(np.uint8), np.arange(9))


@pytest.mark.parametrize("device", DEVICES)
def test_it_gives_the_image_set_s_batch(device: torch.device) -> None:
    rows = torch.tensor([4, 4, 1])
    some = images(ImageSet)
    assert torch.equal(Loader(device).batch(some, rows), some.batch(rows, device))


@pytest.mark.parametrize("device", DEVICES)
def test_the_clock_counts_loading_and_starts_anew_when_asked(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    normalise = loader.normalize

    def slowly(taken: torch.Tensor) -> torch.Tensor:
        time.sleep(5 * PAUSE)  # work on the device, not a wait for images
        return normalise(taken)

    monkeypatch.setattr(loader, "normalize", slowly)
    feed = Loader(device)
    some = images(Slow)
    assert feed.waited() == 0
    for _ in range(3):
        feed.batch(some, torch.arange(4))
        time.sleep(PAUSE)
    assert 3 * PAUSE * 0.99 <= feed.waited() < 5 * PAUSE
    assert feed.waited() == 0
    feed.batch(images(ImageSet), torch.arange(4))
    assert 0 < feed.waited() < PAUSE


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_busy_gpu_does_not_wait_for_images_that_are_indexed_meanwhile() -> None:
    feed = Loader(torch.device("cuda"))
    some = images(Slow)
    feed.batch(some, torch.arange(4))
    feed.waited()
    torch.cuda._sleep(int(10 * PAUSE * 2e9))  # cycles: at least ten pauses
    feed.batch(some, torch.arange(4))
    assert feed.waited() < PAUSE / 2


META = torch.device("meta")


def listed(count: int = 3) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    return [torch.randint(9, (size,), generator=draws) for size in (4, 1, 3)[:count]]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [None, np.array([8, 3, 3, 0, 1, 2, 7, 6, 5])], ids=["all", "some"])
def test_batches_are_what_take_gives(device: torch.device, rows: np.ndarray | None) -> None:
    some = images(ImageSet)
    some = ImageSet(some.pixels, some.labels, rows)
    for feed in (Loader(device), Loader(device, DeviceImages())):
        taken = list(feed.batches(some, listed()))
        assert [batch.device.type for batch in taken] == [device.type] * 3
        assert all(torch.equal(batch, some.take(part, device)) for batch, part in zip(taken, listed(), strict=True))
        assert list(feed.batches(some, [])) == []


def test_on_a_cpu_there_is_no_thread_and_no_copy_of_the_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a CPU needs neither")

    monkeypatch.setattr(loader, "PinnedRing", fail)
    monkeypatch.setattr(DeviceImages, "hold", fail)
    feed = Loader(torch.device("cpu"), DeviceImages())
    rows = torch.arange(3)
    assert feed.upload(rows) == (rows,)
    assert len(list(feed.batches(images(ImageSet), listed()))) == 3


class Meta(Loader):
    """A loader of the meta device, which stands in for a GPU, with memory of a stand-in."""

    def __init__(self, held: DeviceImages | None, free: int | None = None) -> None:
        super().__init__(META, held)
        self.free = free

    def free_memory(self) -> int | None:
        return self.free


def test_images_that_take_less_than_a_quarter_of_the_memory_stay_on_the_device() -> None:
    some = images(ImageSet)
    size = some.images.nbytes
    for free, stays in ((None, True), (4 * size, True), (4 * size - 4, False)):
        held = DeviceImages()
        feed = Meta(held, free)
        shapes = [batch.shape for batch in feed.batches(some, listed())]
        assert shapes == [(4, 8, 8, 3), (1, 8, 8, 3), (3, 8, 8, 3)]
        assert held.nbytes == (size if stays else 0)
        assert feed.take(some, torch.arange(2)).shape == (2, 8, 8, 3)
        if stays:
            assert feed.take(some, torch.zeros(2, dtype=torch.int64, device=META)).shape == (2, 8, 8, 3)


def test_the_next_cell_finds_the_images_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []
    original = device_images._copy

    def listen(pixels: np.ndarray, device: torch.device) -> torch.Tensor:
        copied.append(len(pixels))
        return original(pixels, device)

    monkeypatch.setattr(device_images, "_copy", listen)
    pixels = images(ImageSet).pixels
    held = DeviceImages()
    for _ in range(3):
        feed = Meta(held)  # each cell has a loader, and sets that map the same memory
        for rows in (np.arange(6), np.arange(6, 9)):
            part = ImageSet(pixels[:], np.arange(len(rows)), rows)
            list(feed.batches(part, [torch.arange(2), torch.arange(3)]))
    assert copied == [9]


def test_streams_and_loaders_without_room_use_the_ring_and_gather_the_right_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gathered: list[list[int]] = []
    original = transfer.gather_images

    def listen(pixels: np.ndarray, numbers: np.ndarray, buffer: torch.Tensor) -> None:
        gathered.append(numbers.tolist())
        original(pixels, numbers, buffer)

    monkeypatch.setattr(pinned_ring, "gather_images", listen)
    order = np.array([8, 3, 3, 0, 1, 2, 7, 6, 5])
    some = images(ImageSet)
    some = ImageSet(some.pixels, some.labels, order)
    assert len(list(Meta(None).batches(some, listed()))) == 3
    assert gathered == [order[rows.numpy()].tolist() for rows in listed()]


class Clock:
    """A stand-in for an event of a GPU whose queue is never ahead: it happens when it is recorded."""

    def __init__(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None: ...

    def elapsed_time(self, other: "Clock") -> float:
        return 1000 * (other.at - self.at)


class Decoding:
    """A stream that takes a while for each batch."""

    shape = (9, 8, 8, 3)

    def prefetch(self, rows: np.ndarray) -> None: ...
    def close(self) -> None: ...
    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        time.sleep(PAUSE)
        return np.zeros((len(rows), 8, 8, 3), np.uint8)


def test_the_wait_for_a_copy_counts_and_the_work_beside_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loader, "_record_event", lambda self: Clock())
    stream = ImageSet(Decoding(), np.arange(9))
    feed = Loader(META)
    for _ in feed.batches(stream, listed()):
        pass  # a device that does nothing else waits for every batch
    assert feed.waited() >= 3 * PAUSE * 0.9
    for _ in feed.batches(stream, listed()):
        time.sleep(2 * PAUSE)  # the next batches come meanwhile
    assert feed.waited() < 2 * PAUSE
    assert feed.waited() == 0
