"""Rows of shards: their columns, how they are read, and what they are recognised by.

A row is an image: `image` (JPEG bytes, RGB), `label` (int32, index into the manifest's classes), `split` ("train",
"val" or "test"), `source` (where it came from, relative). Rows are in canonical order, by (label, source), over all
shards, so that tie order in a ranking and any choice of rows by number is the same wherever the set was written.

Three sums, each for a question of its own: a row's CRC-32 (in the footer of its shard) says which row is damaged, a
shard's SHA-256 (in the manifest) that the file around the rows is not, and the content hash what the data is, however
it is cut into shards.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.data.manifest import read_manifest, unreadable
from raysearch.data.places import Location, Place
from raysearch.errors import UserError, nearest

SCHEMA = pa.schema({"image": pa.binary(), "label": pa.int32(), "split": pa.string(), "source": pa.string()})
CHECKSUMS = b"raysearch.crc32"  # key in each shard's footer: one uint32 a row


class Row(NamedTuple):
    """A row, in the order of SCHEMA."""

    image: bytes
    label: int
    split: str
    source: str

    def _head(self) -> bytes:
        words = [self.split.encode(), self.source.encode()]
        return struct.pack("<i", self.label) + b"".join(struct.pack("<I", len(word)) + word for word in words)

    def crc32(self) -> int:
        return zlib.crc32(self.image, zlib.crc32(self._head()))


class ContentHash:
    """SHA-256 over class names and rows, fed row by row in canonical order."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._hash = hashlib.sha256(json.dumps(list(classes)).encode())

    def add(self, row: Row) -> None:
        head = row._head()
        self._hash.update(struct.pack("<IQ", len(head), len(row.image)) + head)
        self._hash.update(row.image)

    def hex(self) -> str:
        return self._hash.hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(directory: Location, columns: Sequence[str] | None = None, split: str | None = None) -> pa.Table:
    """Rows in canonical order, all columns or some, all splits or one.

    Raises UserError: an unknown column or split, and all that `read_manifest` raises.
    """
    root = Place.parse(directory)
    manifest = read_manifest(root)
    wanted = list(SCHEMA.names if columns is None else columns)
    for column in wanted:
        if column not in SCHEMA.names:
            raise UserError(f"no column {column!r} in {root}{nearest(column, SCHEMA.names)}")
    if split is not None and split not in manifest.counts:
        raise UserError(f"no split {split!r} in {root}{nearest(split, manifest.counts)}")
    filters = None if split is None else [("split", "=", split)]
    tables = [read_shard(root / shard.file, wanted, filters) for shard in manifest.shards]
    return pa.concat_tables(tables).replace_schema_metadata()


def read_shard(location: Location, columns: list[str], filters: list[tuple[str, str, Any]] | None = None) -> pa.Table:
    """Rows of one shard, straight from where it lies. Raises UserError where it cannot be read."""
    file = Place.parse(location)
    try:
        # partitioning=None: a directory called a=b above the shard adds no column
        return pq.read_table(file.path, columns=columns, filters=filters, partitioning=None, filesystem=file.files)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(file, error) from error
