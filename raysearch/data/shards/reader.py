"""Read images of shards by row number: JPEG bytes, and nothing else is read.

Parquet is read by row groups, so the writer keeps them small (`shard_builder.ROWS_PER_GROUP`). Files stay open with
their footers, which would take longer to read than the images. A request per row group would take longer still, so a
shard in a store is read from this node's copy (`raysearch.storage.local_copy`).
"""

import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.data.shards.manifest import Manifest, unreadable_shard
from raysearch.storage import Location, LocationLike, local_copy

# Shards that a process holds open: the footer of 512 rows in groups of 16 takes 120 kB, and a process often may have no
# more than 1,024 files. With more shards than this, opening one again costs 0.1 to 0.4 ms.
MAX_OPEN_SHARDS = 512


class _OpenShard(NamedTuple):
    file: pq.ParquetFile
    starts: np.ndarray  # (G + 1,) first row of each row group, and the end of the last one


class _OpenShards:
    """The shards that this process has open, by location and content; each task on Ray brings its own readers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.shards: OrderedDict[tuple[str, str], _OpenShard] = OrderedDict()  # least recently used first


_OPEN_SHARDS = _OpenShards()


class ShardReader:
    """The images of a directory of shards, by row number over all shards.

    Readers can be pickled. A process opens each file once for all its readers; threads take turns.

    Args:
        directory: a directory of shards; a path or a URI.
        manifest: the manifest of that directory.

    Raises:
        UserError: a URI that cannot be parsed.

    >>> import tempfile
    >>> from raysearch.data import shards, synthetic
    >>> with tempfile.TemporaryDirectory() as cache:
    ...     directory = synthetic.ensure_shards(synthetic.parse_spec("classes=2,side=16"), cache)
    ...     reader = ShardReader(directory, shards.read_manifest(directory))
    ...     first, same = reader.images(np.array([99, 99]))
    >>> len(reader), first[:2], first == same
    (100, b'\\xff\\xd8', True)
    """

    def __init__(self, directory: LocationLike, manifest: Manifest) -> None:
        self._root = Location.parse(directory)
        self._shards = manifest.shards
        self._starts = _starts([shard.rows for shard in manifest.shards])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def images(self, rows: np.ndarray) -> list[bytes]:
        """Return the JPEG bytes of N rows.

        Args:
            rows: (N,) int64, canonical row numbers from 0, in any order and with repeats.

        Raises:
            IndexError: a row number out of range.
            UserError: a shard that cannot be read.
        """
        unique_rows, inverse = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        if len(unique_rows) and not 0 <= unique_rows[0] <= unique_rows[-1] < len(self):
            raise IndexError(f"rows {unique_rows[0]} to {unique_rows[-1]} of {len(self)}")
        shard_of_row = np.searchsorted(self._starts, unique_rows, side="right") - 1
        images: list[bytes] = []
        for shard in np.unique(shard_of_row):
            images += self._read_images(int(shard), unique_rows[shard_of_row == shard] - self._starts[shard])
        return [images[index] for index in inverse]

    def _read_images(self, shard: int, rows: np.ndarray) -> list[bytes]:
        """Return the images of sorted rows of one shard, reading all row groups that have one in a single call."""
        try:
            with _OPEN_SHARDS.lock:
                file, starts = self._open(shard)
                group_of_row = np.searchsorted(starts, rows, side="right") - 1
                groups, group_index = np.unique(group_of_row, return_inverse=True)
                column = file.read_row_groups(groups.tolist(), columns=["image"], use_threads=False)["image"]
        except (OSError, pa.ArrowException, KeyError) as error:
            raise unreadable_shard(self._root / self._shards[shard].file, error) from error
        column_starts = _starts(np.diff(starts)[groups])  # first row in `column` of each group
        return column.take(pa.array(rows - starts[group_of_row] + column_starts[group_index])).to_pylist()

    def _open(self, number: int) -> _OpenShard:
        shard = self._shards[number]
        open_shards = _OPEN_SHARDS.shards
        key = ((self._root / shard.file).text, shard.sha256)
        if key not in open_shards:
            while len(open_shards) >= MAX_OPEN_SHARDS:
                open_shards.popitem(last=False)[1].file.close()
            path = local_copy(self._root / shard.file, shard.bytes, shard.sha256)  # may have been evicted meanwhile
            # Without pre_buffer, which also reads the bytes between the groups.
            file = pq.ParquetFile(path, pre_buffer=False)
            if file.schema_arrow.field("image").type != pa.binary():
                raise pa.ArrowTypeError("images are bytes")
            groups = range(file.metadata.num_row_groups)
            open_shards[key] = _OpenShard(file, _starts([file.metadata.row_group(group).num_rows for group in groups]))
        open_shards.move_to_end(key)
        return open_shards[key]


def _starts(sizes: list[int] | np.ndarray) -> np.ndarray:
    """Return (n + 1,) the start of each of n consecutive parts with these sizes, and the end of the last one."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
