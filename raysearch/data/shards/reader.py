"""Images of shards by row number, as a feed that draws at random wants them: JPEG bytes, and nothing else is read.

Parquet is read a row group at a time, so the writer keeps groups small (`shards.ROWS_PER_GROUP`), and files stay open
here with their footers, which would take longer to read than the images. A request for each row group would take longer
still, so of a shard in a store this node's copy is read (`copies`).
"""

import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raysearch import storage
from raysearch.data.shards.manifest import Manifest, unreadable_shard
from raysearch.storage import Location, LocationLike

# Shards held open at a time: the footers of 512 rows in groups of 16 take 120 kB each, and a process has often no more
# than 1,024 files. Where there are more shards, one that is opened again costs 0.1 to 0.4 ms.
MAX_OPEN_SHARDS = 512


class _Opened(NamedTuple):
    file: pq.ParquetFile
    starts: np.ndarray  # (G + 1,) first row of each row group, and where the last one ends


class _OpenShards:
    """The files that a process has open, by place and content: each task on Ray brings a shelf of its own."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.opened: OrderedDict[tuple[str, str], _Opened] = OrderedDict()  # the one used last stands last


_AT_HAND = _OpenShards()


class ShardReader:
    """The images of a directory of shards, by row number over all shards.

    It travels between processes. A process opens each file once, for all its shelves; threads take turns.

    Args:
        directory: of shards; a path or a URI.
        manifest: of that directory.

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
        self._root, self._shards = Location.parse(directory), manifest.shards
        self._starts = _starts([shard.rows for shard in manifest.shards])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def images(self, rows: np.ndarray) -> list[bytes]:
        """JPEG bytes of N rows.

        Args:
            rows: (N,) int64, canonical row numbers from 0, in any order and with repeats.

        Raises:
            IndexError: a row that is not there.
            UserError: a shard that cannot be read.
        """
        wanted, places = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(self):
            raise IndexError(f"rows {wanted[0]} to {wanted[-1]} of {len(self)}")
        of_row = np.searchsorted(self._starts, wanted, side="right") - 1
        found: list[bytes] = []
        for shard in np.unique(of_row):
            found += self._read(int(shard), wanted[of_row == shard] - self._starts[shard])
        return [found[place] for place in places]

    def _read(self, shard: int, rows: np.ndarray) -> list[bytes]:
        """Images of a shard by their rows in it, which are sorted: all row groups that hold one, in one call."""
        try:
            with _AT_HAND.turn:
                file, starts = self._open(shard)
                of_row = np.searchsorted(starts, rows, side="right") - 1
                groups, nth = np.unique(of_row, return_inverse=True)
                column = file.read_row_groups(groups.tolist(), columns=["image"], use_threads=False)["image"]
        except (OSError, pa.ArrowException) as error:
            raise unreadable_shard(self._root / self._shards[shard].file, error) from error
        before = _starts(np.diff(starts)[groups])  # the row in `column` at which each of the groups begins
        return column.take(pa.array(rows - starts[of_row] + before[nth])).to_pylist()

    def _open(self, shard: int) -> _Opened:
        one, opened = self._shards[shard], _AT_HAND.opened
        key = ((self._root / one.file).text, one.sha256)
        if key not in opened:
            while len(opened) >= MAX_OPEN_SHARDS:
                opened.popitem(last=False)[1].file.close()
            path = storage.local_copy(self._root / one.file, one.bytes, one.sha256)  # again: a copy may have made room
            # without pre_buffer, which reads ahead what lies between the groups
            file = pq.ParquetFile(path, pre_buffer=False)
            groups = range(file.metadata.num_row_groups)
            opened[key] = _Opened(file, _starts([file.metadata.row_group(group).num_rows for group in groups]))
        opened.move_to_end(key)
        return opened[key]


def _starts(sizes: list[int] | np.ndarray) -> np.ndarray:
    """(n + 1,) where parts of these sizes begin, one after the other, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
