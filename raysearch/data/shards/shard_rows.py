"""Rows of shards: their columns, their hashes, and how they are read.

A row is an image: `image` (JPEG bytes, RGB), `label` (int32, index into the manifest's classes), `split` ("train",
"val" or "test"), `source` (relative path of the original). Rows are in canonical order, by (label, source), over all
shards. So ties in a ranking, and any choice of rows by number, are the same wherever the set was written.

A row's SHA-256 is in the footer of its shard and shows which row is damaged. The content hash covers these digests. So
it identifies the data however it is cut into shards, and shards can be built anywhere and in any order. A shard's own
SHA-256, in the manifest, covers the rest of the file.
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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raysearch.core import UserError, nearest
from raysearch.data.shards.manifest import INGEST_AGAIN, read_manifest, unreadable_shard
from raysearch.storage import Location, LocationLike

SCHEMA = pa.schema({"image": pa.binary(), "label": pa.int32(), "split": pa.string(), "source": pa.string()})
DIGESTS_KEY = b"raysearch.sha256"  # key in each shard's footer; the value has 32 bytes per row
SHARDS_AT_ONCE = 4
_DIGEST_BYTES = hashlib.sha256().digest_size


class Row(NamedTuple):
    """A row, in the order of SCHEMA."""

    image: bytes
    label: int
    split: str
    source: str

    def digest(self) -> bytes:
        """Return the SHA-256 of all four fields."""
        split = self.split.encode()
        source = self.source.encode()
        sizes = struct.pack("<iIIQ", self.label, len(split), len(source), len(self.image))
        hasher = hashlib.sha256(sizes + split + source)
        hasher.update(self.image)
        return hasher.digest()


def content_hash(classes: Sequence[str], digests: Iterable[bytes]) -> str:
    """Return the SHA-256, in hex, of class names and row digests.

    Args:
        classes: names in label order.
        digests: the digests of all rows in canonical order, one or many per item.

    >>> content_hash(["crow"], [b"1" * 32, b"2" * 32]) == content_hash(["crow"], [b"1" * 32 + b"2" * 32])
    True
    """
    hasher = hashlib.sha256(json.dumps(list(classes)).encode())
    for some_digests in digests:
        hasher.update(some_digests)
    return hasher.hexdigest()


def row_digests(location: LocationLike) -> bytes:
    """Return the digests of a shard's rows, joined, from its footer.

    Raises:
        UserError: the shard cannot be read, or has no digests.
    """
    file = Location.parse(location)
    try:
        with file.open() as data:
            return footer_digests(pq.read_metadata(data), file)
    except (OSError, pa.ArrowException) as error:
        raise unreadable_shard(file, error) from error


def footer_digests(footer: pq.FileMetaData, file: Location) -> bytes:
    """Return the digests of all rows, joined, from a shard's footer.

    Args:
        footer: the footer of the shard.
        file: the shard, named in errors.

    Raises:
        UserError: the shard has no digests of its rows.
    """
    digests = (footer.metadata or {}).get(DIGESTS_KEY, b"")
    if len(digests) != _DIGEST_BYTES * footer.num_rows:
        raise UserError(f"shard {file} has no digests of its rows; {INGEST_AGAIN}")
    return digests


def split_digests(digests: bytes) -> list[bytes]:
    """Split joined digests into one per row.

    >>> split_digests(b"1" * 32 + b"2" * 32) == [b"1" * 32, b"2" * 32]
    True
    """
    return [digests[start : start + _DIGEST_BYTES] for start in range(0, len(digests), _DIGEST_BYTES)]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_rows(directory: LocationLike, columns: Sequence[str] | None = None, split: str | None = None) -> pa.Table:
    """Read rows in canonical order.

    Args:
        directory: a directory of shards; a path or a URI.
        columns: to read; None for all.
        split: to read; None for all.

    Raises:
        UserError: an unknown column or split, and everything that `read_manifest` raises.
    """
    root = Location.parse(directory)
    manifest = read_manifest(root)
    selected = list(SCHEMA.names if columns is None else columns)
    for column in selected:
        if column not in SCHEMA.names:
            raise UserError(f"no column {column!r} in {root}{nearest(column, SCHEMA.names)}")
    if split is not None and split not in manifest.counts:
        raise UserError(f"no split {split!r} in {root}{nearest(split, manifest.counts)}")
    filters = None if split is None else [("split", "=", split)]
    files = [root / shard.file for shard in manifest.shards]
    with ThreadPoolExecutor(SHARDS_AT_ONCE) as pool:  # hides a store's delay per request
        tables = list(
            pool.map(partial(read_shard, columns=selected, classes=len(manifest.classes), filters=filters), files)
        )
    return pa.concat_tables(tables).replace_schema_metadata()


def read_shard(
    location: LocationLike,
    columns: list[str],
    classes: int | None = None,
    filters: list[tuple[str, str, Any]] | None = None,
) -> pa.Table:
    """Read rows of one shard, without a local copy.

    Args:
        location: the location of the shard.
        columns: to read.
        classes: the number of classes, which labels are below; None does not check them.
        filters: conditions on rows, as `pyarrow.parquet.read_table` takes them.

    Raises:
        UserError: the shard cannot be read.
    """
    file = Location.parse(location)
    try:
        # With partitioning=None a parent directory called a=b adds no column.
        table = pq.read_table(
            file.path, columns=columns, filters=filters, partitioning=None, filesystem=file.filesystem
        )
        types = dict(zip(table.schema.names, table.schema.types, strict=True))
        if types != {name: SCHEMA.field(name).type for name in columns}:
            raise pa.ArrowTypeError("other columns than those of a shard")
        if any(column.null_count for column in table.columns):
            raise pa.ArrowInvalid("a value is missing")
        if classes is not None and "label" in columns and len(table):
            labels = pc.min_max(table["label"]).as_py()
            if not 0 <= labels["min"] <= labels["max"] < classes:
                raise pa.ArrowIndexError("a label without a class")
    except (OSError, pa.ArrowException) as error:
        raise unreadable_shard(file, error) from error
    return table
