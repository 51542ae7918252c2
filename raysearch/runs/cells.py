"""Ended cells on disk: a small Parquet file each, under the cell's hash.

The files are the record of a run and the only one: `results.parquet` is put together from them and never read back, so
that nothing can disagree with them. Ten thousand are read in a few seconds, and by a `Reader` that lives only once.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.core import atomic
from raysearch.core.errors import UserError

STATUSES = ("finished", "failed", "stopped")
_FIRST = ("study", "variant", "seed", "cell", "status", "error", "config")
_TYPES = {
    "seed": pa.int64(),
    "seconds": pa.float64(),
    "gpu_seconds": pa.float64(),
    "epochs": pa.int64(),
    "attempts": pa.int64(),
    "code_version": pa.int64(),
}
_TYPES |= dict.fromkeys(("study", "variant", "stage", "cell", "status", "error", "config"), pa.string())
_TYPES |= dict.fromkeys(("data", "metric_ids", "history", "environment", "by_radius"), pa.string())
_KINDS: dict[Any, Any] = {pa.int64(): int, pa.float64(): int | float, pa.string(): str}
_LARGEST = 2**63  # for integers what a column takes; a metric beyond is nobody's, and its squares overflow
_OWN = {"cell", "history", "by_radius"}  # texts that no two cells share
_AT_ONCE = 512  # files held as bytes
_Stamp = tuple[int, int, int]  # inode, nanoseconds of the last change, bytes
_THREADS = 8  # hide the latency of a network file system; unpacking is one thread's work


def write_cell(cells_dir: Path, record: Mapping[str, Any]) -> None:
    """Write one ended cell under its hash.

    Args:
        cells_dir: the run's `cells` directory.
        record: seed, cell, status, error, config, metrics, seconds, gpu_seconds, epochs, attempts, data,
            code_version, metric_ids, history, environment.
    """
    assert record["status"] in STATUSES, record["status"]
    table = as_table([dict(record)])
    # Of one row, dictionaries and statistics are most of the file and help nobody.
    atomic.replace_file(
        cells_dir / f"{record['cell']}.parquet",
        lambda path: pq.write_table(table, path, use_dictionary=False, write_statistics=False),
    )


def read_cells(cells_dir: Path, hashes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The ended cells among `hashes`, by hash; a `Reader` for one call.

    Raises:
        UserError: a cell file that cannot be read.
    """
    return CellReader(cells_dir).read(hashes)


class CellReader:
    """Ended cells as they come in: a file that has not changed since the last call is not opened again.

    A file is taken for unchanged while its inode, time and size are; a cell that was run again has a new file.
    What it returns is kept and returned again, so it must not be changed.

    >>> CellReader(Path("nowhere")).read(["c0"])
    {}
    """

    def __init__(self, cells_dir: Path) -> None:
        self._dir = Path(cells_dir)
        self._known: dict[str, tuple[_Stamp, dict[str, Any]]] = {}
        self._texts: dict[str, str] = {}

    def read(self, hashes: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The ended cells among `hashes`, by hash, in their order.

        Raises:
            UserError: a cell file that cannot be read.
        """
        wanted = list(dict.fromkeys(hashes))
        present = self._present(self._known.keys() | wanted)
        self._known = {cell: known for cell, known in self._known.items() if present.get(cell) == known[0]}
        new = [cell for cell in wanted if cell in present and cell not in self._known]
        for cell, stamp, content in self._contents(new):
            self._known[cell] = stamp, self._unpack(cell, content)
        return {cell: self._known[cell][1] for cell in wanted if cell in self._known}

    def _present(self, wanted: set[str]) -> dict[str, _Stamp | None]:
        """Cells with a file, and the file's stamp where it was read before."""
        found: dict[str, _Stamp | None] = {}
        if self._dir.is_dir():
            with os.scandir(self._dir) as entries:
                for entry in entries:
                    cell = entry.name.removesuffix(".parquet")
                    if cell in wanted and cell != entry.name and entry.is_file():  # of a pipe nobody would read the end
                        found[cell] = _stamp(entry.stat()) if cell in self._known else None
        return found

    def _contents(self, cells: Sequence[str]) -> Iterator[tuple[str, _Stamp, bytes]]:
        """Files that are still there, as bytes; the stamp is of the file that was read, not of one before it."""
        few = _AT_ONCE // _THREADS  # files a turn of a thread
        with ThreadPoolExecutor(_THREADS) as threads:
            for start in range(0, len(cells), _AT_ONCE):
                some = cells[start : start + _AT_ONCE]
                parts = [some[first : first + few] for first in range(0, len(some), few)]
                for part, contents in zip(parts, threads.map(self._some, parts), strict=True):
                    for cell, content in zip(part, contents, strict=True):
                        if content is not None:
                            yield cell, *content

    def _some(self, cells: Sequence[str]) -> list[tuple[_Stamp, bytes] | None]:
        return [self._content(cell) for cell in cells]

    def _content(self, cell: str) -> tuple[_Stamp, bytes] | None:
        path = self._dir / f"{cell}.parquet"
        try:
            with path.open("rb") as file:
                return _stamp(os.fstat(file.fileno())), file.read()
        except FileNotFoundError:  # removed since the directory was read: the cell has not ended
            return None
        except OSError as error:
            raise _damaged(path, error) from None

    def _unpack(self, cell: str, content: bytes) -> dict[str, Any]:
        try:
            row = _row(content, cell)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(self._dir / f"{cell}.parquet", error) from None
        shared = {key for key, value in row.items() if isinstance(value, str)} - _OWN
        return row | {key: self._texts.setdefault(row[key], row[key]) for key in shared}


def as_table(rows: Sequence[Mapping[str, Any]], factors: Sequence[str] = ()) -> pa.Table:
    """Rows as a table with typed columns: fixed names first, then factors, then metrics and the rest.

    A column of values that have no common type, such as a factor with the levels 5 and "auto", holds them as JSON.
    """
    known = dict.fromkeys(key for row in rows for key in row)
    names = dict.fromkeys([*(name for name in _FIRST if not rows or name in known), *factors, *known])
    return pa.table({name: _column([row.get(name) for row in rows], _TYPES.get(name)) for name in names})


def _row(content: bytes, cell: str) -> dict[str, Any]:
    """The one row of a cell file, of values that a table's columns take; ValueError for anything else."""
    file = pq.ParquetFile(pa.BufferReader(content))
    if file.metadata.num_rows != 1:  # before a file that unpacks to more than there is memory is unpacked
        raise ValueError(f"{file.metadata.num_rows:,} rows")
    row = file.read(use_threads=False).to_pylist()[0]
    for name, value in row.items():
        if value is not None and not _is_value(value, _TYPES.get(name)):
            raise ValueError(f"column '{name[:80]}' holds a {type(value).__name__} that it cannot have")
    if row.get("cell") != cell or row.get("status") not in STATUSES or row.get("seed") is None:
        raise ValueError("it is not the cell that its name says, or without a status or a seed")
    return row


def _is_value(value: Any, kind: pa.DataType | None) -> bool:
    """Whether a column takes a value; one without a kind is a metric or a text of the task's own."""
    if not isinstance(value, _KINDS.get(kind, str | int | float)):
        return False
    if isinstance(value, str):
        return True
    # a metric may be no number: its cell then counts as failed
    return abs(value) < _LARGEST or (kind is None and not math.isfinite(value))


def _column(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        if kind is not None:
            raise
        return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"cell file '{path}' cannot be read ({error}); remove it to run the cell again")
