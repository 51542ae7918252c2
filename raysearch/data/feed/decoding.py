"""Decode rows of shards chunk by chunk, in the requested order: on threads of this process, or by Ray Data.

Both give the same bytes in the same order. A chunk is the rows that one Ray task decodes. It is large enough that the
cost of a task does not matter, and small enough that a few chunks fit in any memory.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from raysearch.core import UserError
from raysearch.data.shards import INGEST_AGAIN, CorruptImage, ShardReader, decode_jpeg

CHUNK_BYTES = 16 << 20  # of decoded images, at most
CHUNK_ROWS = 512  # at most: about a tenth of a second at 96 px

# From chunks of rows to chunks of images (k, side, side, 3).
Decoder = Callable[[Sequence[np.ndarray]], Iterator[np.ndarray]]


class DecodeSpec(NamedTuple):
    """How an image is decoded; see `raysearch.data.shards.decode_jpeg`."""

    side: int  # pixels
    zoom: float = 1.0

    @property
    def bytes(self) -> int:
        """The size of one decoded image."""
        return 3 * self.side * self.side


def chunk_rows(rows: np.ndarray, spec: DecodeSpec) -> list[np.ndarray]:
    """Divide rows (n,) into chunks, in their order.

    >>> [len(chunk) for chunk in chunk_rows(np.arange(1100), DecodeSpec(96))]
    [512, 512, 76]
    """
    size = max(1, min(CHUNK_ROWS, CHUNK_BYTES // spec.bytes))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def decode_rows(reader: ShardReader, spec: DecodeSpec, rows: np.ndarray) -> np.ndarray:
    """Decode the images of `rows` (k,).

    Args:
        reader: the reader of the shards.
        spec: how images are decoded.
        rows: (k,) int64.

    Returns:
        (k, side, side, 3) uint8.

    Raises:
        UserError: a shard that cannot be read, or an image that does not decode.
    """
    images = np.empty((len(rows), spec.side, spec.side, 3), np.uint8)
    for index, encoded in enumerate(reader.images(rows)):
        try:
            images[index] = decode_jpeg(encoded, spec.side, spec.zoom)
        except CorruptImage as error:
            raise UserError(f"row {rows[index]} of the data set does not decode: {error}; {INGEST_AGAIN}") from error
    return images


@dataclass(frozen=True)
class ThreadDecoder:
    """Decodes on threads of this process; decoding releases the interpreter's lock.

    Args:
        reader: the reader of the shards.
        spec: how images are decoded.
        threads: at work at a time.
    """

    reader: ShardReader
    spec: DecodeSpec
    threads: int = 1

    def __call__(self, chunks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(self.threads) as pool:
            pending: deque[Any] = deque()
            for chunk in chunks:
                pending.append(pool.submit(decode_rows, self.reader, self.spec, chunk))
                if len(pending) > self.threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()


@dataclass(frozen=True)
class RayDataDecoder:
    """Decodes by Ray Data, on any free CPUs of the cluster.

    Args:
        reader: the reader of the shards, which every node of the cluster must see.
        spec: how images are decoded.
        cpus: tasks at a time; None for as many as fit.
        store_bytes: bytes of the object store, for decoded images on their way; None for Ray Data's share.
        own_process: whether a separate process drives the pipeline (`streaming_split`), so that it costs a training
            process no time. There is one split only: several workers would get chunks by speed, not reproducibly.
    """

    reader: ShardReader
    spec: DecodeSpec
    cpus: int | None = None
    store_bytes: int | None = None
    own_process: bool = False

    def __call__(self, chunks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        import pyarrow as pa
        import ray.data
        from ray.data import ExecutionOptions, ExecutionResources

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.raise_original_map_exception = True
        limits = ExecutionResources.for_limits(cpu=self.cpus, object_store_memory=self.store_bytes)
        context.execution_options = ExecutionOptions(limits, preserve_order=True, verbose_progress=False)
        rows = ray.data.from_arrow([pa.table({"row": chunk}) for chunk in chunks])
        images = rows.map_batches(self._decode_batch, batch_size=None, batch_format="numpy", num_cpus=1)
        source = images.streaming_split(1)[0] if self.own_process else images
        try:
            for batch in source.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=1):
                yield batch["image"]
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, UserError) else error from None

    def _decode_batch(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"image": decode_rows(self.reader, self.spec, batch["row"])}
