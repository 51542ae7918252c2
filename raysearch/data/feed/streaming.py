"""A data set that is larger than the memory, read like an array: its images are decoded shortly before they are needed.

Whoever trains says ahead which rows it will take, pass after pass (`prefetch`): an epoch, then the next. A pipeline
decodes a pass in that order, and the one of the next pass starts when a quarter of a pass has been taken, so that the
first batch of an epoch is there when the last of the one before has gone. Rows are chosen by the same sampler as if all
images lay in memory, so a cell gives the same numbers either way. What was not announced, or is taken in another order,
is decoded on the spot: right as well, and slow.
"""

import logging
import queue
import threading
from collections.abc import Sequence

import numpy as np

from raysearch.core.errors import UserError
from raysearch.data.feed.decoding import Decoder, DecodeSpec, ThreadDecoder, chunk_rows
from raysearch.data.shards import ShardReader

_WORTH = 8  # chunks of a pass from which on a pipeline beside this process pays; it takes over a second to start
_WELL = 4  # a pass is well begun when this part of it has been taken
_AHEAD = 2  # chunks that wait to be taken, besides those in the pipeline
_PASSES = 8  # announced and not yet taken, at most; the oldest was forgotten by whoever announced it
_RETRIES = 3  # of a pipeline that broke, without a chunk between
_log = logging.getLogger(__name__)


class ImageStream:
    """See the module; read like an array of shape (n, side, side, 3).

    Args:
        shelf: of shards.
        view: how images are decoded.
        decode: the pipeline; None, and for passes that are too short for one: a thread of this process.
    """

    def __init__(self, shelf: ShardReader, view: DecodeSpec, decode: Decoder | None = None) -> None:
        self._view, self._at_once = view, ThreadDecoder(shelf, view)
        self._decode = decode or self._at_once
        self._passes: list[PrefetchedPass] = []
        self.shape = (len(shelf), view.side, view.side, 3)
        self.unannounced = 0  # images that were decoded on the spot

    def prefetch(self, rows: np.ndarray) -> None:
        """Announce a pass over rows (n,) int64."""
        chunks = chunk_rows(rows, self._view)
        if not chunks:
            return
        self._passes.append(PrefetchedPass(chunks, self._decode if len(chunks) >= _WORTH else self._at_once))
        while len(self._passes) > _PASSES:
            self._passes.pop(0).close()
        self._start_due()

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        for one in self._passes:
            if one.comes_next(rows):
                images = one.take(len(rows))
                self._passes = [other for other in self._passes if not other.done]
                self._start_due()
                return images
        self.unannounced += len(rows)
        parts = list(self._at_once(chunk_rows(rows, self._view)))
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), np.uint8)

    def close(self) -> None:
        """End all pipelines. What is taken afterwards is decoded on the spot."""
        for one in self._passes:
            one.close()
        self._passes = []

    def _start_due(self) -> None:
        """The first pass runs, and the second when the first is well begun."""
        for place, one in enumerate(self._passes[:2]):
            if place == 0 or self._passes[0].well_begun:
                one.start()


class PrefetchedPass:
    """Images that are decoded in the order in which they will be taken.

    Args:
        chunks: of rows, at least one.
        decode: the pipeline; when it breaks, as with the node that drove it, another goes on where it ended.
    """

    def __init__(self, chunks: Sequence[np.ndarray], decode: Decoder) -> None:
        self._chunks, self._decode = chunks, decode
        self._rows, self._taken = np.concatenate(chunks), 0
        self._ready: queue.Queue[np.ndarray | Exception] = queue.Queue(_AHEAD)
        self._current = np.empty((0, 0), np.uint8)  # what is left of the chunk that is being taken
        self._closed, self._thread = threading.Event(), threading.Thread(target=self._pull, daemon=True)

    @property
    def done(self) -> bool:
        return self._taken == len(self._rows)

    @property
    def well_begun(self) -> bool:
        return _WELL * self._taken >= len(self._rows)

    def start(self) -> None:
        """Begin to decode, if that has not begun."""
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """Stop decoding."""
        self._closed.set()
        while not self._ready.empty():  # whoever waits to put something there goes on, and sees that it is over
            self._ready.get_nowait()

    def comes_next(self, rows: np.ndarray) -> bool:
        return len(rows) > 0 and np.array_equal(self._rows[self._taken : self._taken + len(rows)], rows)

    def take(self, count: int) -> np.ndarray:
        """The next `count` images, of at most as many as are left."""
        self.start()
        parts: list[np.ndarray] = []
        while count > 0:
            if not len(self._current):
                self._current = self._next()
            part, self._current = self._current[:count], self._current[count:]
            parts.append(part)
            count -= len(part)
            self._taken += len(part)
        return np.concatenate(parts)

    def _next(self) -> np.ndarray:
        found = self._ready.get()
        if isinstance(found, Exception):
            raise found
        return found

    def _pull(self) -> None:
        done = failures = 0
        while done < len(self._chunks) and not self._closed.is_set():
            try:
                for images in self._decode(self._chunks[done:]):
                    self._put(images)
                    done, failures = done + 1, 0
                    if self._closed.is_set():
                        return
            except Exception as error:
                failures += 1
                if isinstance(error, UserError) or failures > _RETRIES:
                    self._put(error)
                    return
                _log.warning("decoding goes on at chunk %d of %d after: %s", done, len(self._chunks), error)

    def _put(self, what: np.ndarray | Exception) -> None:
        while not self._closed.is_set():
            try:
                return self._ready.put(what, timeout=0.5)
            except queue.Full:
                continue
