"""Batches that are gathered and copied to a device ahead of their use, for images that do not stay there.

A thread gathers the images of a batch into one of two pinned buffers and starts the copy, on a stream of its own. So
the next batch is on its way while the device computes. A buffer is filled again once the device has reached the batch
that was in it; the host is therefore never more than two batches ahead.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch
from torch import Tensor

from raysearch.data.feed.image_set import ImageSet
from raysearch.data.feed.transfer import gather_images, pinned_buffer

_BUFFERS = 2


class Link(Protocol):
    """A way from the host's buffers to a device."""

    device: torch.device

    def send(self, buffer: Tensor) -> Any:
        """Start to copy a buffer; called by the ring's thread."""

    def receive(self, sent: Any) -> tuple[Tensor, Any]:
        """Return the copy of a buffer for use on the device, and a mark: the device has reached this batch."""

    def wait(self, mark: Any) -> None:
        """Wait for a mark; called by the ring's thread."""


class HostLink:
    """Copies that have ended when they were started; for devices without streams.

    Args:
        device: the device of the copies.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def send(self, buffer: Tensor) -> Tensor:
        """Copy a buffer."""
        return buffer.to(self.device, non_blocking=True, copy=True)

    def receive(self, sent: Tensor) -> tuple[Tensor, None]:
        """Return the copy."""
        return sent, None

    def wait(self, mark: None) -> None:
        """Do nothing."""


class CudaLink:
    """Copies on a stream of their own, beside the computation.

    Args:
        device: the GPU of the copies.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)

    def send(self, buffer: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        """Queue a copy; return it with the event of its end."""
        with torch.cuda.stream(self._stream):
            return buffer.to(self.device, non_blocking=True), self._stream.record_event()

    def receive(self, sent: tuple[Tensor, torch.cuda.Event]) -> tuple[Tensor, torch.cuda.Event]:
        """Make the computation wait for a copy; return the copy, with an event after that wait."""
        images, copied = sent
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(copied)
        images.record_stream(computing)
        return images, computing.record_event(torch.cuda.Event(blocking=True))  # a waiting thread takes no CPU

    def wait(self, mark: torch.cuda.Event) -> None:
        """Wait for an event of `receive`."""
        mark.synchronize()


class PinnedRing:
    """An iterator over batches on a device; see the module.

    Args:
        images: the images, in memory or streamed.
        batches: (B,) int64 rows of each batch, on the host, in the order of their use.
        link: the way to the device.

    Yields:
        (B, side, side, 3) uint8 on the device.

    Raises:
        IndexError: a row that does not exist. Errors of a stream are raised in the order of the batches, too.
    """

    def __init__(self, images: ImageSet, batches: Sequence[Tensor], link: Link) -> None:
        self._images = images
        self._link = link
        self._left = deque(batches)
        shape = (max(map(len, batches), default=0), images.side, images.side, 3)
        self._buffers = [pinned_buffer(shape, link.device) for _ in range(min(_BUFFERS, len(batches)))]
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="images")
        self._jobs: deque[tuple[Future[Any], Tensor]] = deque()  # with the buffer of each
        for buffer in self._buffers:
            self._start(buffer, None)

    def __iter__(self) -> "PinnedRing":
        return self

    def __next__(self) -> Tensor:
        if not self._jobs:
            self.close()
            raise StopIteration
        job, buffer = self._jobs.popleft()
        try:
            images, mark = self._link.receive(job.result())
        except BaseException:
            self.close()
            raise
        self._start(buffer, mark)
        return images

    def close(self) -> None:
        """End the thread, after the batch that it is working on."""
        self._left.clear()
        self._jobs.clear()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _start(self, buffer: Tensor, mark: Any) -> None:
        """Let the thread load the next batch, if there is one, into a buffer that is free after a mark."""
        if self._left:
            job = self._executor.submit(_load, self._images, self._left.popleft(), buffer, self._link, mark)
            self._jobs.append((job, buffer))


def _load(images: ImageSet, rows: Tensor, buffer: Tensor, link: Link, mark: Any) -> Any:
    """Fill a buffer and start its copy; the thread's work. It does not refer to the ring, which can end meanwhile."""
    if mark is not None:
        link.wait(mark)
    part = buffer[: len(rows)]
    gather_images(images.pixels, images.numbers(rows), part)
    return link.send(part)
