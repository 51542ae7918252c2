"""Read a data set to its last byte, and name the damaged shard and row."""

import hashlib
import struct
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from raysearch.core import UserError, count_cpus
from raysearch.data.shards import duplicates, image_opening, jpeg, shard_rows
from raysearch.data.shards.manifest import INGEST_AGAIN, MANIFEST, Manifest, Shard, read_manifest, unreadable_shard
from raysearch.storage import Location, LocationLike


class _IntactShard(NamedTuple):
    """The content of a shard whose rows are all intact."""

    digests: bytes
    counts: Counter[tuple[str, int]]  # (split, label) -> images
    images: list[tuple[str, int, str, str]]  # digest of the image, label, split and source of each row


def verify_shards(
    directory: LocationLike, decode: bool = True, progress: Callable[[int], None] = lambda number: None
) -> Manifest:
    """Check each row's digest, each shard's hash, the content hash and, with `decode`, that each image decodes.

    Args:
        directory: a directory of shards; a path or a URI.
        decode: also check that training can decode each image, which the hashes cannot show.
        progress: called with the number of images just done.

    Returns:
        The manifest, with the equal images of a data set of an earlier version.

    Raises:
        UserError: damage; the message names the shard, the row (counted from 0 within the shard) and its source.
    """
    root = Location.parse(directory)
    manifest = read_manifest(root)
    digests: list[bytes] = []
    counts: Counter[tuple[str, int]] = Counter()
    images: list[tuple[str, duplicates.Place]] = []
    with ThreadPoolExecutor(count_cpus()) as pool:  # decoders and hashes release the GIL
        for shard in pool.map(partial(_check_shard, root, decode), manifest.shards):
            digests.append(shard.digests)
            counts += shard.counts
            if manifest.duplicates is None:
                images += [
                    (digest, duplicates.Place(source, manifest.classes[label], split))
                    for digest, label, split, source in shard.images
                ]
            progress(shard.counts.total())
    recorded = {
        (split, label): number
        for split, numbers in manifest.counts.items()
        for label, number in enumerate(numbers)
        if number
    }
    if shard_rows.content_hash(manifest.classes, digests) != manifest.content_hash or counts != recorded:
        raise UserError(f"{root / MANIFEST} does not describe the shards beside it; {INGEST_AGAIN}")
    return (
        manifest
        if manifest.duplicates
        else manifest.model_copy(update={"duplicates": duplicates.find_duplicates(images)})
    )


def _check_shard(root: Location, decode: bool, shard: Shard) -> _IntactShard:
    file = root / shard.file
    try:
        data = file.read()  # only once: the bytes that are checked are the bytes that were read
        table = pq.read_table(pa.BufferReader(data), columns=shard_rows.SCHEMA.names)
        footer = pq.read_metadata(pa.BufferReader(data))
    except (OSError, pa.ArrowException) as error:
        raise unreadable_shard(file, error) from error
    digests = shard_rows.footer_digests(footer, file)
    counts = Counter[tuple[str, int]]()
    images: list[tuple[str, int, str, str]] = []
    for number, digest in enumerate(shard_rows.split_digests(digests)):
        where = f"shard {file}, row {number}"
        try:
            row = shard_rows.Row(*(table[name][number].as_py() for name in shard_rows.SCHEMA.names))
            intact = row.digest() == digest
        except (ValueError, AttributeError, TypeError, struct.error) as error:  # bytes that are not text, or a null
            raise UserError(f"{where} cannot be read; {INGEST_AGAIN}") from error
        if not intact:
            raise UserError(f"{where} ({row.source}) is damaged; {INGEST_AGAIN}")
        if decode:
            _check_image(row.image, f"{where} ({row.source})")
        counts[row.split, row.label] += 1
        images.append((duplicates.image_digest(row.image), row.label, row.split, row.source))
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise UserError(f"shard {file} is damaged outside its rows (its SHA-256 is not the manifest's); {INGEST_AGAIN}")
    return _IntactShard(digests, counts, images)


def _check_image(image: bytes, where: str) -> None:
    try:
        converted, _ = jpeg.to_rgb_jpeg(image)
    except image_opening.CorruptImage as error:
        raise UserError(f"{where} does not decode: {error}; {INGEST_AGAIN}") from error
    if jpeg.is_turned(image):
        raise UserError(f"{where} lies on its side, as an earlier raysearch left it; {INGEST_AGAIN}")
    if converted != image:
        raise UserError(f"{where} is not an RGB JPEG that training can decode; {INGEST_AGAIN}")
