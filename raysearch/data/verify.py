"""Read a data set to its last byte, and name the shard and the row where something is wrong."""

import hashlib
import struct
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.data import jpeg
from raysearch.data.manifest import CURE, MANIFEST, Manifest, read_manifest, unreadable
from raysearch.data.places import Location, Place
from raysearch.data.rows import CHECKSUMS, SCHEMA, ContentHash, Row
from raysearch.errors import UserError


def verify(directory: Location, decode: bool = True) -> Manifest:
    """Check each row's checksum, each shard's hash, the content hash and, with `decode`, that each image decodes.

    Raises UserError that names the shard, the row (counted from 0 within the shard) and its source.
    """
    root = Place.parse(directory)
    manifest = read_manifest(root)
    content = ContentHash(manifest.classes)
    counts = {split: [0] * len(manifest.classes) for split in manifest.counts}
    for shard in manifest.shards:
        file = root / shard.file
        data = _bytes(file)  # once: a store is asked for each shard once, and what is checked is what was read
        for row in _checked_rows(file, data, decode):
            content.add(row)
            if row.split in counts and 0 <= row.label < len(manifest.classes):
                counts[row.split][row.label] += 1
        if hashlib.sha256(data).hexdigest() != shard.sha256:
            raise UserError(f"shard {file} is damaged outside its rows (its SHA-256 is not the manifest's); {CURE}")
    if content.hex() != manifest.content_hash or {key: tuple(row) for key, row in counts.items()} != manifest.counts:
        raise UserError(f"{root / MANIFEST} does not describe the shards beside it; {CURE}")
    return manifest


def _bytes(file: Place) -> bytes:
    try:
        return file.read()
    except OSError as error:
        raise unreadable(file, error) from error


def _checked_rows(file: Place, data: bytes, decode: bool) -> Iterator[Row]:
    try:
        table = pq.read_table(pa.BufferReader(data), columns=SCHEMA.names)
        footer = (pq.read_schema(pa.BufferReader(data)).metadata or {}).get(CHECKSUMS, b"")
    except (OSError, pa.ArrowException) as error:
        raise unreadable(file, error) from error
    if len(footer) != 4 * table.num_rows:
        raise UserError(f"shard {file} has no checksums of its rows; {CURE}")
    for number, (checksum,) in enumerate(struct.iter_unpack("<I", footer)):
        where = f"shard {file}, row {number}"
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
