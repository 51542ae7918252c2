"""What a loader gives is the image set's own batch, and its clock counts indexing and copying alone."""

import time

import numpy as np
import pytest
import torch

from raysearch.data.feed import DeviceImages, ImageSet, device_images, pinned_ring, transfer
from raysearch.tasks.common import Loader, loader, memory

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

    def memory_beside_peak(self) -> int | None:
        return self.free


def load(feed: Loader, some: ImageSet) -> list[tuple[int, ...]]:
    """The shapes of the batches of a step."""
    shapes = [tuple(batch.shape) for batch in feed.batches(some, listed())]
    feed.waited()
    return shapes


def test_images_that_fit_beside_a_training_step_stay_on_the_device() -> None:
    some = images(ImageSet)
    size = some.images.nbytes
    for free, stays in ((None, True), (size, True), (size - 1, False)):
        held = DeviceImages()
        feed = Meta(held, free)
        for number in range(3):
            assert load(feed, some) == [(4, 8, 8, 3), (1, 8, 8, 3), (3, 8, 8, 3)]
            # The need of a step is not known before the first one has ended.
            assert held.nbytes == (size if stays and (free is None or number) else 0)
        assert feed.take(some, torch.arange(2)).shape == (2, 8, 8, 3)
        if stays:
            assert feed.take(some, torch.zeros(2, dtype=torch.int64, device=META)).shape == (2, 8, 8, 3)


def test_an_evaluation_or_a_warm_up_on_features_does_not_show_a_step_s_need() -> None:
    some = images(ImageSet)
    held = DeviceImages()
    feed = Meta(held, 1 << 30)
    with torch.no_grad():
        for _ in range(3):
            load(feed, some)
            feed.waited()
    assert held.nbytes == 0
    load(feed, some)
    load(feed, some)
    assert held.nbytes == some.images.nbytes


def test_two_sets_of_a_cell_share_the_room_and_another_cell_s_make_way() -> None:
    held = DeviceImages()
    first, second, third = (ImageSet(images(ImageSet).pixels + number, np.arange(9)) for number in range(3))
    size = first.images.nbytes
    feed = Meta(held, size + size // 2)
    for some in (first, first, second, second):
        load(feed, some)  # the second does not fit beside the first, which is used
    assert held.find(first.pixels, feed) is not None
    assert held.find(second.pixels, feed) is None
    del feed
    feed = Meta(held, size // 2)  # beside the first set, which is there
    load(feed, third)
    load(feed, third)
    assert held.find(third.pixels, feed) is not None
    assert held.nbytes == size


def test_a_step_s_need_is_its_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 1 << 30
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (60 * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2 * gib)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 12 * gib)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 10 * gib)
    assert memory.memory_beside_peak(gpu) == 60 * gib  # 72 GiB are this process's, and the step takes 12
    assert memory.memory_beside_peak(gpu, 0.25) == 8 * gib
    assert memory.memory_beside_peak(gpu, 0.1) == 0
    assert memory.memory_beside_peak(torch.device("cpu")) is None


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
