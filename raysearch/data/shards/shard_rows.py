"""Rows of shards: their columns, how they are read, and what they are recognised by.

A row is an image: `image` (JPEG bytes, RGB), `label` (int32, index into the manifest's classes), `split` ("train",
"val" or "test"), `source` (where it came from, relative). Rows are in canonical order, by (label, source), over all
shards, so that tie order in a ranking and any choice of rows by number is the same wherever the set was written.

A row's SHA-256 lies in the footer of its shard and says which row is damaged. The content hash is taken over these, so
that shards can be made anywhere and in any order, and says what the data is, however it is cut into shards. A shard's
own SHA-256, in the manifest, says whether the file around the rows is whole.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.core.errors import UserError, nearest
from raysearch.data.shards.manifest import INGEST_AGAIN, read_manifest, unreadable_shard
from raysearch.storage import Location, LocationLike

SCHEMA = pa.schema({"image": pa.binary(), "label": pa.int32(), "split": pa.string(), "source": pa.string()})
DIGESTS_KEY = b"raysearch.sha256"  # key in each shard's footer: 32 bytes a row
SHARDS_AT_ONCE = 4  # shards
_BYTES = hashlib.sha256().digest_size


class Row(NamedTuple):
    """A row, in the order of SCHEMA."""

    image: bytes
    label: int
    split: str
    source: str

    def digest(self) -> bytes:
        """SHA-256 of all of it."""
        split, source = self.split.encode(), self.source.encode()
        sizes = struct.pack("<iIIQ", self.label, len(split), len(source), len(self.image))
        hashed = hashlib.sha256(sizes + split + source)
        hashed.update(self.image)
        return hashed.digest()


def content_hash(classes: Sequence[str], digests: Iterable[bytes]) -> str:
    """SHA-256, in hex, over class names and the digests of all rows in canonical order, given one or many at a time.

    >>> content_hash(["crow"], [b"1" * 32, b"2" * 32]) == content_hash(["crow"], [b"1" * 32 + b"2" * 32])
    True
    """
    hashed = hashlib.sha256(json.dumps(list(classes)).encode())
    for some in digests:
        hashed.update(some)
    return hashed.hexdigest()


def row_digests(location: LocationLike) -> bytes:
    """The digests of a shard's rows, one after the other, from its footer; UserError where they are not there."""
    file = Location.parse(location)
    try:
        with file.open() as data:
            return digests_in(pq.read_metadata(data), file)
    except (OSError, pa.ArrowException) as error:
        raise unreadable_shard(file, error) from error


def digests_in(footer: pq.FileMetaData, file: Location) -> bytes:
    """As `row_digests`, of a footer that was read."""
    digests = (footer.metadata or {}).get(DIGESTS_KEY, b"")
    if len(digests) != _BYTES * footer.num_rows:
        raise UserError(f"shard {file} has no digests of its rows; {INGEST_AGAIN}")
    return digests


def split_digests(digests: bytes) -> list[bytes]:
    """One of each row.

    >>> split_digests(b"1" * 32 + b"2" * 32) == [b"1" * 32, b"2" * 32]
    True
    """
    return [digests[start : start + _BYTES] for start in range(0, len(digests), _BYTES)]


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_rows(directory: LocationLike, columns: Sequence[str] | None = None, split: str | None = None) -> pa.Table:
    """Rows in canonical order, all columns or some, all splits or one.

    Raises UserError: an unknown column or split, and all that `read_manifest` raises.
    """
    root = Location.parse(directory)
    manifest = read_manifest(root)
    wanted = list(SCHEMA.names if columns is None else columns)
    for column in wanted:
        if column not in SCHEMA.names:
            raise UserError(f"no column {column!r} in {root}{nearest(column, SCHEMA.names)}")
    if split is not None and split not in manifest.counts:
        raise UserError(f"no split {split!r} in {root}{nearest(split, manifest.counts)}")
    filters = None if split is None else [("split", "=", split)]
    files = [root / shard.file for shard in manifest.shards]
    with ThreadPoolExecutor(SHARDS_AT_ONCE) as pool:  # a store answers each of many small requests late
        tables = list(pool.map(partial(read_shard, columns=wanted, filters=filters), files))
    return pa.concat_tables(tables).replace_schema_metadata()


def read_shard(
    location: LocationLike, columns: list[str], filters: list[tuple[str, str, Any]] | None = None
) -> pa.Table:
    """Rows of one shard, straight from where it lies. Raises UserError where it cannot be read."""
    file = Location.parse(location)
    try:
        # partitioning=None: a directory called a=b above the shard adds no column
        return pq.read_table(file.path, columns=columns, filters=filters, partitioning=None, filesystem=file.filesystem)
    except (OSError, pa.ArrowException) as error:
        raise unreadable_shard(file, error) from error
