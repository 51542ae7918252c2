"""Read a data set to its last byte, and name the shard and the row where something is wrong."""

import hashlib
import os
import struct
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.core.errors import UserError
from raysearch.data.shards import jpeg
from raysearch.data.shards.manifest import INGEST_AGAIN, MANIFEST, Manifest, Shard, read_manifest, unreadable_shard
from raysearch.data.shards.shard_rows import SCHEMA, Row, content_hash, digests_in, split_digests
from raysearch.storage import Location, LocationLike


class _Checked(NamedTuple):
    """What is in a shard whose rows are all intact."""

    digests: bytes
    counts: Counter[tuple[str, int]]  # (split, label) -> images


def verify_shards(
    directory: LocationLike, decode: bool = True, progress: Callable[[int], None] = lambda number: None
) -> Manifest:
    """Check each row's digest, each shard's hash, the content hash and, with `decode`, that each image decodes.

    Args:
        directory: of shards; a path or a URI.
        decode: also check what the hashes say nothing of, that training can decode each image.
        progress: called with the number of images just done.

    Raises:
        UserError: that names the shard, the row (counted from 0 within the shard) and its source.
    """
    root = Location.parse(directory)
    manifest = read_manifest(root)
    digests: list[bytes] = []
    counts: Counter[tuple[str, int]] = Counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders and hashes leave the GIL to each other
        for checked in pool.map(partial(_check_shard, root, decode), manifest.shards):
            digests.append(checked.digests)
            counts += checked.counts
            progress(checked.counts.total())
    said = {(split, label): n for split, of in manifest.counts.items() for label, n in enumerate(of) if n}
    if content_hash(manifest.classes, digests) != manifest.content_hash or counts != said:
        raise UserError(f"{root / MANIFEST} does not describe the shards beside it; {INGEST_AGAIN}")
    return manifest


def _check_shard(root: Location, decode: bool, shard: Shard) -> _Checked:
    file = root / shard.file
    try:
        data = file.read()  # once: a store is asked for each shard once, and what is checked is what was read
        table = pq.read_table(pa.BufferReader(data), columns=SCHEMA.names)
        footer = pq.read_metadata(pa.BufferReader(data))
    except (OSError, pa.ArrowException) as error:
        raise unreadable_shard(file, error) from error
    digests, counts = digests_in(footer, file), Counter[tuple[str, int]]()
    for number, digest in enumerate(split_digests(digests)):
        where = f"shard {file}, row {number}"
        try:
            row = Row(*(table[name][number].as_py() for name in SCHEMA.names))
            intact = row.digest() == digest
        except (ValueError, AttributeError, TypeError, struct.error) as error:  # bytes that are no text, a null
            raise UserError(f"{where} cannot be read; {INGEST_AGAIN}") from error
        if not intact:
            raise UserError(f"{where} ({row.source}) is damaged; {INGEST_AGAIN}")
        if decode:
            _check_image(row.image, f"{where} ({row.source})")
        counts[row.split, row.label] += 1
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise UserError(f"shard {file} is damaged outside its rows (its SHA-256 is not the manifest's); {INGEST_AGAIN}")
    return _Checked(digests, counts)


def _check_image(image: bytes, where: str) -> None:
    try:
        kept, _ = jpeg.to_rgb_jpeg(image)
    except jpeg.CorruptImage as error:
        raise UserError(f"{where} does not decode: {error}; {INGEST_AGAIN}") from error
    if kept != image:
        raise UserError(f"{where} is no RGB JPEG that training can decode; {INGEST_AGAIN}")
