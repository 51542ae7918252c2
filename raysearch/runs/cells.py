"""Ended cells on disk: one small Parquet file per cell, under the cell's hash.

The files are the only record of a run. `results.parquet` is made from them and never read back, so nothing can disagree
with them. Ten thousand files are read in a few seconds, and a `CellReader` reads each only once.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.core import UserError, atomic, is_own, open_below, type_of
from raysearch.studies.analysis.input_errors import is_input_error

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
_TYPES |= dict.fromkeys(("study", "variant", "data_set", "stage", "cell", "status", "error", "config"), pa.string())
_TYPES |= dict.fromkeys(("data", "metric_ids", "metric_steps", "history", "environment", "by_radius"), pa.string())
_TYPES |= {"device": pa.string()}
RESERVED = frozenset(_TYPES)  # columns that no metric of another tool may be named like
_KINDS: dict[Any, Any] = {pa.int64(): int, pa.float64(): int | float, pa.string(): str}
_MAX_VALUE = 2**63  # the limit of an integer column; the squares of a larger metric would overflow
_UNIQUE = {"cell", "history", "by_radius"}  # texts that no two cells share
_MAX_FILE_BYTES = 1 << 24  # a history of ten thousand steps takes a tenth of that
_MAX_CONTENT_BYTES = 1 << 27
_COMPRESSIONS = {"UNCOMPRESSED", "SNAPPY"}  # of `write_cell`
_PHYSICAL_TYPES = {"BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE", "BYTE_ARRAY"}
_BATCH = 512  # files held as bytes
_THREADS = 8  # to hide the latency of a network file system; one thread decodes

_FAILED_START = re.compile(r"its pre-training, cell (\w+), did not come to its end")

_Stamp = tuple[int, int, int]  # inode, nanoseconds of the last change, bytes


def write_cell(cells_dir: Path, record: Mapping[str, Any]) -> None:
    """Write the file of one ended cell.

    Args:
        cells_dir: the run's `cells` directory.
        record: seed, cell, status, error, config, metrics, seconds, gpu_seconds, epochs, attempts, data,
            code_version, metric_ids, history, environment, device.

    Raises:
        OSError: the file cannot be written.
    """
    assert record["status"] in STATUSES, record["status"]
    table = as_table([dict(record)])
    # For one row, dictionaries and statistics would be most of the file, and of no use.
    atomic.replace_file(
        cells_dir / f"{record['cell']}.parquet",
        lambda path: pq.write_table(table, path, use_dictionary=False, write_statistics=False),
    )


def read_cells(cells_dir: Path, hashes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the ended cells among `hashes`, by hash.

    Raises:
        UserError: a cell file that cannot be read.
    """
    return CellReader(cells_dir).read(hashes)


def failed_by_input(cells_dir: Path, record: Mapping[str, Any]) -> bool:
    """Return whether a cell failed for a reason that is no result, so that it should be run again.

    Args:
        cells_dir: the run's `cells` directory; a cell may have failed because its pre-training did.
        record: the cell's row.

    Raises:
        UserError: the file of the pre-training cannot be read.
    """
    if record["status"] != "failed":
        return False
    error = str(record.get("error"))
    start = _FAILED_START.search(error)
    if start is None:
        return is_input_error(error)
    pre_training = read_cells(cells_dir, [start[1]]).get(start[1])
    return pre_training is None or pre_training["status"] != "failed" or failed_by_input(cells_dir, pre_training)


class CellReader:
    """Reads ended cells again and again; a file that has not changed since the last call is not opened again.

    A file counts as unchanged while its inode, time and size stay the same; a cell that was run again has a new file.
    The returned rows are kept and returned again, so callers must not change them.

    Args:
        cells_dir: the run's `cells` directory.
        own_only: leave out the files of other users, who could have written any numbers.

    >>> CellReader(Path("nowhere")).read(["c0"])
    {}
    """

    def __init__(self, cells_dir: Path, own_only: bool = False) -> None:
        self._dir = Path(cells_dir)
        self._own_only = own_only
        self._known: dict[str, tuple[_Stamp, dict[str, Any]]] = {}
        self._texts: dict[str, str] = {}  # one copy of each text that cells share

    def read(self, hashes: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the ended cells among `hashes`, by hash, in their order.

        Raises:
            UserError: a cell file that cannot be read.
        """
        cells = list(dict.fromkeys(hashes))
        present = self._present(self._known.keys() | cells)
        self._known = {cell: known for cell, known in self._known.items() if present.get(cell) == known[0]}
        new = [cell for cell in cells if cell in present and cell not in self._known]
        for cell, stamp, content in self._contents(new):
            self._known[cell] = (stamp, self._decode(cell, content))
        return {cell: self._known[cell][1] for cell in cells if cell in self._known}

    def _present(self, cells: set[str]) -> dict[str, _Stamp | None]:
        """Return the cells that have a file, with the file's stamp if it was read before."""
        present: dict[str, _Stamp | None] = {}
        if self._dir.is_dir():
            with os.scandir(self._dir) as entries:
                for entry in entries:
                    cell = entry.name.removesuffix(".parquet")
                    # Only regular files: reading a pipe would never end.
                    if cell in cells and cell != entry.name and entry.is_file():
                        present[cell] = _stamp(entry.stat()) if cell in self._known else None
        return present

    def _contents(self, cells: Sequence[str]) -> Iterator[tuple[str, _Stamp, bytes]]:
        """Yield the files that still exist, as bytes; the stamp is that of the file that was read."""
        part_size = _BATCH // _THREADS
        with ThreadPoolExecutor(_THREADS) as threads:
            for start in range(0, len(cells), _BATCH):
                batch = cells[start : start + _BATCH]
                parts = [batch[first : first + part_size] for first in range(0, len(batch), part_size)]
                for part, contents in zip(parts, threads.map(self._read_files, parts), strict=True):
                    for cell, content in zip(part, contents, strict=True):
                        if content is not None:
                            yield cell, *content

    def _read_files(self, cells: Sequence[str]) -> list[tuple[_Stamp, bytes] | None]:
        return [self._read_file(cell) for cell in cells]

    def _read_file(self, cell: str) -> tuple[_Stamp, bytes] | None:
        path = self._dir / f"{cell}.parquet"
        try:
            with open_below(self._dir, path.name) as file:
                status = os.fstat(file.fileno())
                if self._own_only and not is_own(status):
                    return None
                if status.st_size > _MAX_FILE_BYTES:
                    raise OSError(f"it has {status.st_size:,} bytes, and no cell has more than {_MAX_FILE_BYTES:,}")
                return _stamp(status), file.read(_MAX_FILE_BYTES)
        except FileNotFoundError:  # removed since the directory was listed: the cell has not ended
            return None
        except OSError as error:
            raise _damaged_file(path, error) from None

    def _decode(self, cell: str, content: bytes) -> dict[str, Any]:
        try:
            row = _decode_row(content, cell)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged_file(self._dir / f"{cell}.parquet", error) from None
        shared = {key for key, value in row.items() if isinstance(value, str)} - _UNIQUE
        return row | {key: self._texts.setdefault(row[key], row[key]) for key in shared}


def as_table(rows: Sequence[Mapping[str, Any]], factors: Sequence[str] = ()) -> pa.Table:
    """Return rows as a table with typed columns: fixed names first, then factors, then metrics and the rest.

    A column whose values have no common type, such as a factor with the levels 5 and "auto", holds them as JSON.

    Args:
        rows: values by column; each row may lack some.
        factors: columns of the factors, in their order.
    """
    keys = dict.fromkeys(key for row in rows for key in row)
    names = dict.fromkeys([*(name for name in _FIRST if not rows or name in keys), *factors, *keys])
    return pa.table({name: _column([row.get(name) for row in rows], _TYPES.get(name)) for name in names})


def _decode_row(content: bytes, cell: str) -> dict[str, Any]:
    """Return the only row of a cell file; raise ValueError if it is anything else."""
    file = pq.ParquetFile(pa.BufferReader(content))
    _check_sizes(file)
    row = file.read(use_threads=False).to_pylist()[0]
    for name, value in row.items():
        if value is not None and not _is_value(value, _TYPES.get(name)):
            raise ValueError(f"column '{name[:80]}' must not hold {type_of(value)}")
    if row.get("cell") != cell or row.get("status") not in STATUSES or row.get("seed") is None:
        raise ValueError("it is another cell, or has no status or seed")
    return row


def _check_sizes(file: pq.ParquetFile) -> None:
    """Raise a ValueError for a file that may decompress to more than the memory, before its columns are read.

    The sizes in a footer may be false. What bounds the content is one value per column, and a compression that shrinks
    no text to less than a twentieth.
    """
    metadata = file.metadata
    if metadata.num_rows != 1 or metadata.num_row_groups != 1:
        raise ValueError(f"{metadata.num_rows:,} rows")
    columns = [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]
    size = sum(column.total_uncompressed_size for column in columns)
    if size > _MAX_CONTENT_BYTES:
        raise ValueError(f"its columns take {size:,} bytes, and no cell takes more than {_MAX_CONTENT_BYTES:,}")
    for number, column in enumerate(columns):
        is_flat = file.schema.column(number).max_repetition_level == 0
        if column.num_values != 1 or not is_flat or column.physical_type not in _PHYSICAL_TYPES:
            raise ValueError(f"column '{column.path_in_schema[:80]}' is not one number or text")
        if column.compression not in _COMPRESSIONS:
            raise ValueError(f"column '{column.path_in_schema[:80]}' is compressed by {column.compression}")


def _is_value(value: Any, kind: pa.DataType | None) -> bool:
    """Return whether a column can hold a value; a column without a type is a metric or a text of the task."""
    if not isinstance(value, _KINDS.get(kind, str | int | float)):
        return False
    if isinstance(value, str):
        return True
    # A metric may be NaN or infinite: its cell then counts as failed.
    return abs(value) < _MAX_VALUE or (kind is None and not math.isfinite(value))


def _column(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        if kind is not None:
            raise
        return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _damaged_file(path: Path, error: Exception) -> UserError:
    return UserError(f"cell file '{path}' cannot be read ({error}); remove it to run the cell again")
