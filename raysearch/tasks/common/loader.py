"""Batches of images on the training device: loading them, requesting them ahead, and timing the wait.

All workers of a run draw the same batches, from the config and the seed: see `batch_sizes` and `generator`.

On a GPU the host queues work ahead of time, so the host's clock would count waiting for the GPU as waiting for images.
Two events around indexing and copying are recorded on the stream instead: the time between them is the time that the
GPU spent without work, or copying.
"""

import hashlib
import time
from collections.abc import Callable, Iterable

import torch

from raysearch.core import UserError
from raysearch.data.feed import ImageSet, normalize


class Loader:
    """Loads batches onto one device and measures how long the device waits for them.

    Args:
        device: the device of the loaded images.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def batch(self, images: ImageSet, rows: torch.Tensor) -> torch.Tensor:
        """Load normalized images.

        Args:
            images: to load from.
            rows: (B,) of the images.

        Returns:
            (B, 3, side, side) floats on the device.
        """
        return normalize(self.take(images, rows))

    def take(self, images: ImageSet, rows: torch.Tensor) -> torch.Tensor:
        """Load images as they are stored.

        Args:
            images: to load from.
            rows: (B,) of the images.

        Returns:
            (B, side, side, 3) bytes on the device.
        """
        started = time.perf_counter()
        before = self._record_event()
        batch = images.take(rows, self.device)
        after = self._record_event()
        if before is not None and after is not None:
            self._events.append((before, after))
        else:
            self._seconds += time.perf_counter() - started
        return batch

    def waited(self) -> float:
        """Return the seconds that the device has waited since the last call."""
        if self._events:
            self._events[-1][1].synchronize()
        milliseconds = sum(before.elapsed_time(after) for before, after in self._events)
        seconds = self._seconds + milliseconds / 1000
        self._seconds = 0.0
        self._events = []
        return seconds

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
        rows: returns the rows of a step, by its number, in the order in which they are loaded.
    """

    def __init__(self, images: ImageSet, rows: Callable[[int], Iterable[torch.Tensor]]) -> None:
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
