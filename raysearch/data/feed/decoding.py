"""Rows of shards to decoded images, chunk by chunk in the order asked for: by threads of this process, or by Ray Data.

Both give the same bytes in the same order. A chunk is some rows that one Ray task decodes; it is large enough that what
a task costs disappears beside it, and small enough that a few of them fit in any memory.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from raysearch.core.errors import UserError
from raysearch.data import shards
from raysearch.data.shards import ShardReader

CHUNK_BYTES = 16 << 20  # of decoded images, at most
CHUNK_ROWS = 512  # at most: about a tenth of a second at 96 px

Decoder = Callable[
    [Sequence[np.ndarray]], Iterator[np.ndarray]
]  # chunks of rows to chunks of images (k, side, side, 3)


class DecodeSpec(NamedTuple):
    """How an image is decoded; see `shards.decode`."""

    side: int  # pixels
    zoom: float = 1.0

    @property
    def bytes(self) -> int:
        """Of one decoded image."""
        return 3 * self.side * self.side


def chunk_rows(rows: np.ndarray, view: DecodeSpec) -> list[np.ndarray]:
    """Rows (n,) in chunks, in their order.

    >>> [len(chunk) for chunk in chunk_rows(np.arange(1100), DecodeSpec(96))]
    [512, 512, 76]
    """
    size = max(1, min(CHUNK_ROWS, CHUNK_BYTES // view.bytes))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def decode_rows(shelf: ShardReader, view: DecodeSpec, rows: np.ndarray) -> np.ndarray:
    """The images of `rows` (k,): (k, side, side, 3) uint8."""
    out = np.empty((len(rows), view.side, view.side, 3), np.uint8)
    for place, encoded in enumerate(shelf.images(rows)):
        out[place] = shards.decode_jpeg(encoded, view.side, view.zoom)
    return out


@dataclass(frozen=True)
class ThreadDecoder:
    """Decodes on threads of this process; decoders leave the interpreter's lock to each other.

    Args:
        shelf: of shards.
        view: how.
        threads: at work.
    """

    shelf: ShardReader
    view: DecodeSpec
    threads: int = 1

    def __call__(self, chunks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(self.threads) as pool:
            ahead: deque[Any] = deque()
            for chunk in chunks:
                ahead.append(pool.submit(decode_rows, self.shelf, self.view, chunk))
                if len(ahead) > self.threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()


@dataclass(frozen=True)
class RayDataDecoder:
    """Decodes by Ray Data, on whatever CPUs of the cluster are free.

    Args:
        shelf: of shards, which every node of the cluster sees.
        view: how.
        cpus: tasks at a time; None: as many as fit.
        store_bytes: of the object store that decoded images may take on their way; None: Ray Data's share.
        apart: whether the pipeline is driven by a process of its own (`streaming_split`), so that it costs a training
            process no time. One split: dealing the chunks of one pipeline to several workers would leave it to the
            clock who trains on which image.
    """

    shelf: ShardReader
    view: DecodeSpec
    cpus: int | None = None
    store_bytes: int | None = None
    apart: bool = False

    def __call__(self, chunks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        import pyarrow as pa
        import ray.data
        from ray.data import ExecutionOptions, ExecutionResources

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.raise_original_map_exception = True
        limits = ExecutionResources.for_limits(cpu=self.cpus, object_store_memory=self.store_bytes)
        context.execution_options = ExecutionOptions(limits, preserve_order=True, verbose_progress=False)
        asked = ray.data.from_arrow([pa.table({"row": chunk}) for chunk in chunks])
        images = asked.map_batches(self._decode, batch_size=None, batch_format="numpy", num_cpus=1)
        source = images.streaming_split(1)[0] if self.apart else images
        try:
            for batch in source.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=1):
                yield batch["image"]
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, UserError) else error from None

    def _decode(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"image": decode_rows(self.shelf, self.view, batch["row"])}
