"""Tables: CSV and TSV files, Parquet files, and data frames."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.core import UserError
from raysearch.runs.imported import source
from raysearch.runs.imported.registry import READERS, SourceReader
from raysearch.runs.imported.source import Row, Source

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
_PARQUET = b"PAR1"
_MAX_CONTENT_BYTES = 1 << 30  # of a Parquet file in memory
_MAX_CHARACTERS = 1 << 26  # of all texts of a table
_BATCH_ROWS = 10_000


def read_csv(path: Path, part: str | None = None) -> Source:
    """Read a file with separated values; its first line names the columns.

    Raises:
        UserError: it is not such a file.
    """
    return Source(csv_rows(path))


def csv_rows(path: Path) -> list[Row]:
    """Return the rows of a file with separated values.

    Raises:
        UserError: it is not such a file.
    """
    text = source.read_text(path)
    if "\0" in text:
        raise UserError(f"'{path}' is not text: it holds a zero byte")
    reader = csv.reader(io.StringIO(text), delimiter=_separator(path, text), strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        _check_names(names, path)
        rows = []
        for words in reader:
            if not any(words):
                continue
            if len(words) != len(names):
                raise UserError(
                    f"'{path}', line {reader.line_num}: {len(words)} values for {len(names)} columns; is a comma "
                    "missing or not quoted?"
                )
            rows.append({name: source.parse_value(word) for name, word in zip(names, words, strict=True)})
            if len(rows) > source.MAX_ROWS:
                break
    except csv.Error as error:
        raise UserError(f"'{path}', line {reader.line_num}: {error}") from None
    source.check_sizes(len(rows), len(names), path)
    return rows


def read_parquet(path: Path, part: str | None = None) -> Source:
    """Read a Parquet file.

    Raises:
        UserError: it cannot be read, or is too large.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(source.read_bytes(path)))
        metadata = file.metadata
        source.check_sizes(metadata.num_rows, metadata.num_columns, path)
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > _MAX_CONTENT_BYTES:
            raise UserError(f"'{path}' holds more than {_MAX_CONTENT_BYTES >> 20} MiB of values")
        return read_table(file.read(), path)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"'{path}' is not a Parquet file that can be read: {' '.join(str(error).split())}") from None


def read_table(table: pa.Table, place: object = "the table") -> Source:
    """Return the content of an Arrow table; nested columns become dotted names.

    Raises:
        UserError: it is empty or too large, or a name appears twice.
    """
    source.check_sizes(table.num_rows, table.num_columns, place)
    _check_names(table.column_names, place)
    rows: list[Row] = []
    characters = 0
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):  # a text that repeats is stored once, and read many times
        rows += [source.flat_values(row) for row in batch.to_pylist()]
        characters += sum(
            len(value) for row in rows[-batch.num_rows :] for value in row.values() if isinstance(value, str)
        )
        if characters > _MAX_CHARACTERS:
            raise UserError(f"'{place}' holds more than {_MAX_CHARACTERS >> 20} million characters of text")
    return Source(rows)


def read_frame(frame: Any) -> Source:
    """Return the content of a pandas or polars data frame, or of an Arrow table.

    Raises:
        UserError: it is none of these, or has no rows.
    """
    if isinstance(frame, pa.Table):
        return read_table(frame)
    if hasattr(frame, "to_arrow"):
        return read_table(frame.to_arrow())
    if not hasattr(frame, "to_dict") or not hasattr(frame, "columns"):
        raise UserError(f"results are a path, a data frame or an Arrow table, not {type(frame).__name__}")
    names = [str(name) for name in frame.columns]
    _check_names(names, "the data frame")
    if any(frame.index.names):  # `groupby` leaves variants and seeds there
        return read_frame(frame.reset_index())
    records: Sequence[Mapping[str, Any]] = frame.rename(columns=str).to_dict("records")
    source.check_sizes(len(records), len(names), "the data frame")
    rows = [source.flat_values(record) for record in records]
    return Source([{name: None if value != value else value for name, value in row.items()} for row in rows])


def _separator(path: Path, text: str) -> str:
    """Return the separator of a file: that of its ending, or a semicolon where the first line has no comma."""
    separator = _SEPARATORS.get(path.suffix.lower(), ",")
    first_line = text.partition("\n")[0]
    return ";" if separator not in first_line and ";" in first_line else separator


def _check_names(names: Sequence[str], place: object) -> None:
    twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
    if twice:
        raise UserError(f"'{place}' has several columns '{twice[0]}'; rename all but one")
    if not names or not any(names):
        raise UserError(f"'{place}' has no columns; the first line should name them")


def _is_csv(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in _SEPARATORS


def _is_parquet(path: Path) -> bool:
    return path.is_file() and path.open("rb").read(4) == _PARQUET


READERS.register("Parquet", SourceReader(_is_parquet, read_parquet, is_general=True))
READERS.register("CSV", SourceReader(_is_csv, read_csv, is_general=True))
