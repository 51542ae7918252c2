"""A data set that is larger than the memory, read like an array: images are decoded shortly before they are needed.

The training loop announces the rows that it will take, pass after pass (`prefetch`): one epoch, then the next. A
pipeline decodes a pass in that order. The pipeline of the next pass starts when a quarter of a pass has been taken, so
that the first batch of an epoch is ready when the epoch before ends. Rows are chosen by the same sampler as if all
images were in memory, so a cell gives the same numbers either way. Rows that were not prefetched, or are read out of
order, are decoded synchronously: correct but slow.
"""

import logging
import queue
import threading
from collections.abc import Sequence

import numpy as np

from raysearch.core import UserError
from raysearch.data.feed.decoding import Decoder, DecodeSpec, ThreadDecoder, chunk_rows
from raysearch.data.shards import ShardReader

_MIN_PIPELINE_CHUNKS = 8  # a pipeline takes over a second to start, so shorter passes are decoded in this process
_STARTED_FRACTION = 4  # the next pass starts when one part in four of this one has been taken
_READY_CHUNKS = 2  # that wait to be taken, besides those inside the pipeline
_MAX_PASSES = 8  # announced and not yet taken; the oldest beyond that was abandoned
_RETRIES = 3  # of a failed pipeline, without a chunk in between
_log = logging.getLogger(__name__)


class ImageStream:
    """Decoded images, read like an array of shape (n, side, side, 3).

    Args:
        reader: the reader of the shards.
        spec: how images are decoded.
        decoder: the pipeline; None for a thread of this process, which also decodes passes too short for a pipeline.
    """

    def __init__(self, reader: ShardReader, spec: DecodeSpec, decoder: Decoder | None = None) -> None:
        self._spec = spec
        self._synchronous = ThreadDecoder(reader, spec)
        self._decoder = decoder or self._synchronous
        self._passes: list[PrefetchedPass] = []
        self.shape = (len(reader), spec.side, spec.side, 3)
        self.unannounced = 0  # images that were decoded synchronously

    def prefetch(self, rows: np.ndarray) -> None:
        """Announce a pass over rows (n,) int64."""
        chunks = chunk_rows(rows, self._spec)
        if not chunks:
            return
        decoder = self._decoder if len(chunks) >= _MIN_PIPELINE_CHUNKS else self._synchronous
        self._passes.append(PrefetchedPass(chunks, decoder))
        while len(self._passes) > _MAX_PASSES:
            self._passes.pop(0).close()
        self._start_due_passes()

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        for announced in self._passes:
            if announced.comes_next(rows):
                images = announced.take(len(rows))
                self._passes = [other for other in self._passes if not other.done]
                self._start_due_passes()
                return images
        self.unannounced += len(rows)
        parts = list(self._synchronous(chunk_rows(rows, self._spec)))
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), np.uint8)

    def close(self) -> None:
        """End all pipelines. Rows that are taken afterwards are decoded synchronously."""
        for announced in self._passes:
            announced.close()
        self._passes = []

    def _start_due_passes(self) -> None:
        """Start the first pass, and the second one if the first is well under way."""
        for index, announced in enumerate(self._passes[:2]):
            if index == 0 or self._passes[0].under_way:
                announced.start()


class PrefetchedPass:
    """Images that are decoded in the order in which they will be taken.

    Args:
        chunks: the chunks of rows, at least one.
        decoder: the pipeline; if it fails, for example with its node, another one continues where it ended.
    """

    def __init__(self, chunks: Sequence[np.ndarray], decoder: Decoder) -> None:
        self._chunks = chunks
        self._decoder = decoder
        self._rows = np.concatenate(chunks)
        self._taken = 0
        self._ready: queue.Queue[np.ndarray | Exception] = queue.Queue(_READY_CHUNKS)
        self._current = np.empty((0, 0), np.uint8)  # the rest of the chunk that is being taken
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._decode, daemon=True)

    @property
    def done(self) -> bool:
        """Whether all rows have been taken."""
        return self._taken == len(self._rows)

    @property
    def under_way(self) -> bool:
        """Whether enough rows have been taken that the next pass should start."""
        return _STARTED_FRACTION * self._taken >= len(self._rows)

    def start(self) -> None:
        """Begin to decode, unless that has begun."""
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """Stop decoding."""
        self._closed.set()
        while not self._ready.empty():  # the thread may wait for room in the queue, and has to see that it is closed
            self._ready.get_nowait()

    def comes_next(self, rows: np.ndarray) -> bool:
        """Return whether these are the next rows of the pass."""
        return len(rows) > 0 and np.array_equal(self._rows[self._taken : self._taken + len(rows)], rows)

    def take(self, count: int) -> np.ndarray:
        """Return the next `count` images, which must not be more than are left.

        Raises:
            UserError: a shard that cannot be read.
        """
        self.start()
        parts: list[np.ndarray] = []
        while count > 0:
            if not len(self._current):
                self._current = self._next_chunk()
            part = self._current[:count]
            self._current = self._current[count:]
            parts.append(part)
            count -= len(part)
            self._taken += len(part)
        return np.concatenate(parts)

    def _next_chunk(self) -> np.ndarray:
        while True:
            try:
                item = self._ready.get(timeout=0.5)
            except queue.Empty:
                if self._closed.is_set():  # by another thread than the one that takes
                    raise RuntimeError("the stream of images was closed while they were taken") from None
                continue
            if isinstance(item, Exception):
                raise item
            return item

    def _decode(self) -> None:
        done = 0
        failures = 0
        while done < len(self._chunks) and not self._closed.is_set():
            try:
                for images in self._decoder(self._chunks[done:]):
                    self._put(images)
                    done += 1
                    failures = 0
                    if self._closed.is_set():
                        return
            except Exception as error:
                failures += 1
                if isinstance(error, UserError) or failures > _RETRIES:
                    self._put(error)
                    return
                _log.warning("decoding goes on at chunk %d of %d after: %s", done, len(self._chunks), error)

    def _put(self, item: np.ndarray | Exception) -> None:
        while not self._closed.is_set():
            try:
                return self._ready.put(item, timeout=0.5)
            except queue.Full:
                continue
