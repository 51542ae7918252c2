"""Batches of images on the training device: loading them, requesting them ahead, and timing the wait.

All workers of a run draw the same batches, from the config and the seed: see `batch_sizes` and `generator`.

On a GPU nothing here makes the host wait. Images are gathered and copied ahead by a thread (`PinnedRing`). The first
step of a training shows how much memory it needs. Images that fit beside it stay on the device, for the next
cells of the worker too (`DeviceImages`). A task draws the numbers of an epoch at its start and uploads them once
(`Loader.upload`); its steps take slices.

On a GPU the host queues work ahead of time, so the host's clock would count waiting for the GPU as waiting for images.
Two events around each load are recorded on the stream instead: the time between them is the time that the GPU spent
without work, waiting for a copy, or gathering images.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from raysearch.core import UserError
from raysearch.data.feed import CudaLink, DeviceImages, HostLink, ImageSet, PinnedRing, normalize, transfer
from raysearch.tasks.common.memory import free_memory, memory_beside_peak


class Loader:
    """Loads batches onto one device and measures how long the device waits for them.

    Args:
        device: the device of the loaded images.
        device_images: the images that this process keeps on the device, see `Worker`. None: it keeps none.
        gpu_share: the part of the GPU that this process may use.
    """

    def __init__(self, device: torch.device, device_images: DeviceImages | None = None, gpu_share: float = 1.0) -> None:
        self.device = device
        self._device_images = device_images
        self._gpu_share = gpu_share
        self._resident: dict[int, tuple[ImageSet, Tensor | None, Tensor | None]] = {}
        self._room: int | None = None  # bytes of images that fit a GPU, once a step's need is known
        self._limited: bool | None = None
        self._has_trained = False
        self._link: CudaLink | HostLink | None = None
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def upload(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Copy host tensors to the device in one transfer that the host does not wait for.

        Args:
            tensors: of any types and shapes. On a CPU they are returned unchanged.
        """
        return transfer.upload(tensors, self.device)

    def batch(self, images: ImageSet, rows: Tensor) -> Tensor:
        """Load normalized images.

        Args:
            images: to load from.
            rows: (B,) of the images.

        Returns:
            (B, 3, side, side) floats on the device.
        """
        return normalize(self.take(images, rows))

    def take(self, images: ImageSet, rows: Tensor) -> Tensor:
        """Load images as they are stored. For batches that are known in advance, `batches` is faster.

        Args:
            images: to load from.
            rows: (B,) of the images, on the host or on the device. Rows on the device are read back, which waits for
                its queue, unless the images stay there.

        Returns:
            (B, side, side, 3) bytes on the device.
        """
        self._has_trained |= torch.is_grad_enabled()
        with self._timed():
            if self.device.type == "cpu":
                return images.take(rows, self.device)
            pixels, numbers = self._on_device(images)
            if pixels is None:
                rows = rows.cpu()
                buffer = transfer.pinned_buffer((len(rows), images.side, images.side, 3), self.device)
                transfer.gather_images(images.pixels, images.numbers(rows), buffer)
                return buffer.to(self.device, non_blocking=True)
            if rows.device.type == "cpu":
                (rows,) = self.upload(rows)
            return pixels.index_select(0, rows if numbers is None else numbers[rows])

    def batches(self, images: ImageSet, rows: Sequence[Tensor]) -> Generator[Tensor]:
        """Load batches in a known order. On a GPU each is loaded while the device works on the one before.

        Images must not be taken in another way before the iterator ends or is closed, if they are streamed.

        Args:
            images: to load from.
            rows: (B,) rows of each batch, on the host.

        Returns:
            An iterator over (B, side, side, 3) bytes on the device. A failing stream raises its error there.
        """
        self._has_trained |= torch.is_grad_enabled()
        if self.device.type == "cpu":
            return (self.take(images, part) for part in rows)
        if self._on_device(images)[0] is None:
            if self._link is None:  # the next one takes the same stream, and with it the memory of this one
                self._link = CudaLink(self.device) if self.device.type == "cuda" else HostLink(self.device)
            return self._received(PinnedRing(images, rows, self._link))
        (positions,) = self.upload(torch.cat(list(rows)) if rows else torch.empty(0, dtype=torch.int64))
        return (self.take(images, part) for part in positions.split([len(part) for part in rows]))

    def waited(self) -> float:
        """Return the seconds that the device has waited since the last call; called at the end of a step."""
        if self._has_trained and self._room is None and self._device_images is not None:
            room = self.memory_beside_peak()
            self._room = None if room is None else room + self._device_images.nbytes
        if self._events:
            self._events[-1][1].synchronize()
        milliseconds = sum(before.elapsed_time(after) for before, after in self._events)
        seconds = self._seconds + milliseconds / 1000
        self._seconds = 0.0
        self._events = []
        return seconds

    def free_memory(self) -> int | None:
        """Return the bytes that this worker can still allocate on its GPU; None on any other device."""
        return free_memory(self.device, self._gpu_share)

    def memory_beside_peak(self) -> int | None:
        """Return the bytes of a GPU that the last step has left free at any time; None on any other device."""
        return memory_beside_peak(self.device, self._gpu_share)

    def _received(self, ring: PinnedRing) -> Generator[Tensor]:
        with contextlib.closing(ring):
            while True:
                with self._timed():
                    taken = next(ring, None)
                if taken is None:
                    return
                yield taken

    def _on_device(self, images: ImageSet) -> tuple[Tensor | None, Tensor | None]:
        """Return the pixels of a set on the device, and which of them are the set's images (None: all).

        Pixels are None where they do not stay on the device.
        """
        held = self._device_images
        if held is None or images.streamed:
            return None, None
        if id(images) not in self._resident:
            pixels = held.find(images.pixels, self)
            if pixels is None and self._room is None and self._has_limit():
                return None, None  # a step that takes all memory for itself must not find it taken
            if pixels is None:
                pixels = held.hold(images.pixels, self.device, self._room, self)
            numbers = None
            if pixels is not None and images.rows is not None:
                (numbers,) = self.upload(torch.tensor(images.rows))
            self._resident[id(images)] = images, pixels, numbers  # with the set, whose id is then not given to another
        return self._resident[id(images)][1:]

    def _has_limit(self) -> bool:
        """Return whether the device's memory is known."""
        if self._limited is None:  # the driver of a GPU takes a while to answer
            self._limited = self.free_memory() is not None
        return self._limited

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        """Measure how long the device waits for the load within."""
        started = time.perf_counter()
        before = self._record_event()
        yield
        after = self._record_event()
        if before is not None and after is not None:
            self._events.append((before, after))
        else:
            self._seconds += time.perf_counter() - started

    def _record_event(self) -> torch.cuda.Event | None:
        """Return an event in the GPU's queue of work; None on a CPU."""
        if self.device.type != "cuda":
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event


class Prefetcher:
    """Requests the images of a step, and of the step after it, before the step begins.

    Each step is requested once, also when a run continues from a later step. Resident images need no request.

    Args:
        images: the images that the steps train on.
        rows: returns the rows of a step, by its number, in the order in which they are loaded. It must not refer to
            the task that holds this object: in a reference cycle, an ended task would keep its memory.
    """

    def __init__(self, images: ImageSet, rows: Callable[[int], Iterable[Tensor]]) -> None:
        self._images = images
        self._rows = rows
        self._requested = 0  # steps

    def request(self, step: int, end: int) -> None:
        """Request the images of `step` and the next one, of steps up to `end`."""
        if not self._images.streamed:
            return
        for number in range(max(self._requested, step), min(step + 2, end)):
            self._images.prefetch(torch.cat(list(self._rows(number))))
            self._requested = number + 1


def generator(seed: int, *place: int) -> torch.Generator:
    """Return the random numbers of a place in a run with this seed, such as an iteration and an epoch."""
    return torch.Generator().manual_seed(_place_seed(seed, *place))


def seed_step(seed: int, *place: int, device: torch.device) -> None:
    """Seed torch's own generators for a training step, so that dropout is that of a place in a run with this seed.

    A resumed run then draws what an undisturbed one draws. A network that draws nothing keeps its numbers.

    Args:
        seed: the seed of the run.
        place: of the step, such as an epoch and a step; then the rank, since each worker has images of its own.
        device: the device that the network draws on.
    """
    number = _place_seed(seed, *place)
    torch.default_generator.manual_seed(number)  # torch.manual_seed also formats a stack trace for each absent GPU
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


def _place_seed(seed: int, *place: int) -> int:
    digest = hashlib.sha256(" ".join(map(str, (seed, *place))).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def batch_sizes(rows: int, size: int, workers: int = 1) -> list[int]:
    """Return the sizes of the batches of `rows` rows.

    A last batch that would leave a worker fewer than two images joins the one before, since batch norm needs two.

    >>> batch_sizes(9, size=4), batch_sizes(11, size=4), batch_sizes(11, size=4, workers=2)
    ([4, 5], [4, 4, 3], [4, 7])
    """
    sizes = [min(size, rows - start) for start in range(0, rows, size)]
    if len(sizes) > 1 and sizes[-1] < 2 * workers:
        sizes[-2:] = [sum(sizes[-2:])]
    return sizes


def check_batches(smallest: int, workers: int) -> None:
    """Check that every worker gets two images of each batch.

    Args:
        smallest: images of the smallest batch.
        workers: the workers that share it.

    Raises:
        UserError: a worker gets fewer.
    """
    if workers > 1 and smallest < 2 * workers:
        raise UserError(
            f"batches of {smallest} images are too small for {workers} workers, which need two each; "
            "set a larger train.batch or train.samples, or fewer workers"
        )
