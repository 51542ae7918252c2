"""Images on their way to the device, and how long the device waited for them.

On a GPU the host queues work ahead of time, so its clock would count the wait for the GPU as a wait for images. There
two events on the stream stand around indexing and copying: the time between them is what the GPU spent without work or
copying.
"""

import time

import torch
from torch import Tensor

from raysearch.data.feed import ImageSet, normalize


class Loader:
    """Brings batches to one device and keeps the time.

    Args:
        device: where the images are wanted.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def batch(self, images: ImageSet, rows: Tensor) -> Tensor:
        """`ImageSet.batch` of rows (B,): (B, 3, side, side) floats on the device."""
        return normalize(self.take(images, rows))

    def take(self, images: ImageSet, rows: Tensor) -> Tensor:
        """`ImageSet.take` of rows (B,): (B, side, side, 3) bytes on the device."""
        started, before = time.perf_counter(), self._mark()
        taken = images.take(rows, self.device)
        after = self._mark()
        if before is not None and after is not None:
            self._events.append((before, after))
        else:
            self._seconds += time.perf_counter() - started
        return taken

    def waited(self) -> float:
        """Seconds that the device waited since this was last asked."""
        if self._events:
            self._events[-1][1].synchronize()
        on_device = sum(before.elapsed_time(after) for before, after in self._events) / 1000  # from milliseconds
        seconds, self._seconds, self._events = self._seconds + on_device, 0.0, []
        return seconds

    def _mark(self) -> torch.cuda.Event | None:
        """A point in the GPU's queue of work; None on a CPU."""
        if self.device.type != "cuda":
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event
