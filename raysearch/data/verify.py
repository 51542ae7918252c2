"""Read a data set to its last byte, and name the shard and the row where something is wrong."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from raysearch.data import jpeg
from raysearch.data.manifest import CURE, MANIFEST, Manifest, read_manifest
from raysearch.data.rows import CHECKSUMS, SCHEMA, ContentHash, Row, file_sha256, read_shard
from raysearch.errors import UserError


def verify(directory: str | os.PathLike[str], decode: bool = True) -> Manifest:
    """Check each row's checksum, each shard's hash, the content hash and, with `decode`, that each image decodes.

    Raises UserError that names the shard, the row (counted from 0 within the shard) and its source.
    """
    manifest = read_manifest(directory)
    content = ContentHash(manifest.classes)
    counts = {split: [0] * len(manifest.classes) for split in manifest.counts}
    for shard in manifest.shards:
        path = Path(directory) / shard.file
        for row in _checked_rows(path, decode):
            content.add(row)
            if row.split in counts and 0 <= row.label < len(manifest.classes):
                counts[row.split][row.label] += 1
        if file_sha256(path) != shard.sha256:
            raise UserError(f"shard {path} is damaged outside its rows (its SHA-256 is not the manifest's); {CURE}")
    if content.hex() != manifest.content_hash or {key: tuple(row) for key, row in counts.items()} != manifest.counts:
        raise UserError(f"{Path(directory) / MANIFEST} does not describe the shards beside it; {CURE}")
    return manifest


def _checked_rows(path: Path, decode: bool) -> Iterator[Row]:
    table = read_shard(path, SCHEMA.names)
    footer = (pq.read_schema(path).metadata or {}).get(CHECKSUMS, b"")
    if len(footer) != 4 * table.num_rows:
        raise UserError(f"shard {path} has no checksums of its rows; {CURE}")
    for number, (checksum,) in enumerate(struct.iter_unpack("<I", footer)):
        where = f"shard {path}, row {number}"
        try:
            row = Row(*(table[name][number].as_py() for name in SCHEMA.names))
            intact = row.crc32() == checksum
        except (ValueError, AttributeError, TypeError, struct.error) as error:  # bytes that are no text, a null
            raise UserError(f"{where} cannot be read; {CURE}") from error
        if not intact:
            raise UserError(f"{where} ({row.source}) is damaged; {CURE}")
        if decode:
            _check_image(row.image, f"{where} ({row.source})")
        yield row


def _check_image(image: bytes, where: str) -> None:
    try:
        kept, _ = jpeg.normalise(image)
    except jpeg.CorruptImage as error:
        raise UserError(f"{where} does not decode: {error}; {CURE}") from error
    if kept != image:
        raise UserError(f"{where} is no RGB JPEG that training can decode; {CURE}")
