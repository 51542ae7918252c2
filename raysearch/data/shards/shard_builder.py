"""Build one shard: a range of the ordered samples becomes a Parquet file, on any machine.

A shard's bytes depend neither on the process that writes it nor on the shards around it. If some of its images are
corrupt, it has fewer rows.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

import raysearch
from raysearch.core import UserError, atomic
from raysearch.data.shards import duplicates, image_opening, jpeg, manifest, shard_rows
from raysearch.data.shards.samples import Sample

# Folders of the work directory.
DATA_FOLDER = "data"  # becomes the data set
RECORDS_FOLDER = "notes"  # records of finished shards
TEMPORARY_FOLDER = "half"  # files that are being written

# A random read costs a whole row group. Measured for 256 random rows in shards of 512, on one core of an EPYC with the
# files in memory, in microseconds per row, for images of 4.5 kB (96 px) and 20 kB (224 px), beside a whole read in
# order:
#   rows per group   random, 96 px   224 px   in order, 96 px   224 px   file larger by, 96 px
#                8              14       53                11       17                   1.1 %
#               16              18       49                 5        8                   0.5 %
#               32              23       73                 3        8                   0.2 %
#              128              45      224                 2        4                   0
# Decoding takes 120 and 360. The unit is rows and not bytes, since decoding grows with an image's bytes as well.
ROWS_PER_GROUP = 16

NO_MEMORY = "it needs more memory than is free"

PreparedImage = (
    tuple[bytes, tuple[int, int]] | manifest.Corrupt
)  # the JPEG and its (width, height), or why there is none
ImageMap = Callable[[Callable[[Sample], PreparedImage], Iterable[Sample]], Iterable[PreparedImage]]  # like `map`


class ShardSpec(NamedTuple):
    """The samples of one shard, in canonical order."""

    number: int
    samples: Sequence[Sample]
    labels: dict[str, int]  # class name -> label, of the samples' classes

    @property
    def name(self) -> str:
        """The number with five digits."""
        return f"{self.number:05d}"


class ShardResult(manifest.FrozenModel):
    """The result of building a shard; there is no shard if none of its images decodes."""

    shard: manifest.Shard | None
    counts: dict[str, dict[int, int]]  # split -> label -> images
    width: tuple[int, ...]  # smallest and largest, pixels; empty without a shard
    height: tuple[int, ...]
    corrupt: tuple[manifest.Corrupt, ...]
    images: tuple[str, ...] | None = None  # digest of each row's image; None in records of earlier versions


def plan_shards(samples: Iterable[Sample], labels: dict[str, int], rows: int) -> Iterator[ShardSpec]:
    """Divide ordered samples into shards of `rows`; the last one may be shorter.

    Args:
        samples: in canonical order.
        labels: class name -> label.
        rows: samples per shard.
    """
    remaining = iter(samples)
    number = 0
    while chunk := list(islice(remaining, rows)):
        yield ShardSpec(number, chunk, {sample.label: labels[sample.label] for sample in chunk})
        number += 1


def writer_versions() -> dict[str, str]:
    """Return the versions that decide a shard's bytes: of packages, and of the rules by which images are opened."""
    packages = {"raysearch": raysearch.__version__, "pyarrow": pa.__version__, "pillow": version("pillow")}
    return packages | {manifest.IMAGES: manifest.IMAGES_VERSION}


def build_shard(spec: ShardSpec, directory: Path, image_map: ImageMap = map) -> ShardResult:
    """Write a shard into the work directory.

    Args:
        spec: the shard to write.
        directory: the work directory, which has the folders DATA_FOLDER and TEMPORARY_FOLDER.
        image_map: reads and decodes the images, one by one like `map`, or by a pool's `map`.

    Raises:
        UserError: this machine does not see the directory.
        OSError: the shard cannot be written.
    """
    if not (directory / TEMPORARY_FOLDER).is_dir():
        raise UserError(f"{directory} is not there on {os.uname().nodename}; every node must see OUT")
    rows: list[shard_rows.Row] = []
    widths = set[int]()
    heights = set[int]()
    corrupt: list[manifest.Corrupt] = []
    counts: dict[str, dict[int, int]] = {}
    for sample, prepared in zip(spec.samples, image_map(_prepare, spec.samples), strict=True):
        if isinstance(prepared, manifest.Corrupt):
            corrupt.append(prepared)
            continue
        image, (width, height) = prepared
        label = spec.labels[sample.label]
        rows.append(shard_rows.Row(image, label, sample.split, sample.source))
        widths.add(width)
        heights.add(height)
        split_counts = counts.setdefault(sample.split, {})
        split_counts[label] = split_counts.get(label, 0) + 1
    return ShardResult(
        shard=_write_rows(rows, directory, f"{spec.name}.parquet") if rows else None,
        counts=counts,
        width=(min(widths), max(widths)) if rows else (),
        height=(min(heights), max(heights)) if rows else (),
        corrupt=tuple(corrupt),
        images=tuple(duplicates.image_digest(row.image) for row in rows),
    )


def write_atomic(path: Path, data: bytes | pa.Buffer, temporary_folder: Path) -> None:
    """Write a file that is complete or absent; until it is complete, it is in `temporary_folder` under another name.

    It is not synced to disk, which would cost some milliseconds per shard: readers check each row's digest.

    Raises:
        OSError: the file cannot be written.
    """
    atomic.write_bytes(path, data, temporary_in=temporary_folder, sync=False)


def _prepare(sample: Sample) -> PreparedImage:
    try:
        return jpeg.to_rgb_jpeg(sample.load(), sample.source)
    except (image_opening.CorruptImage, OSError) as error:
        return manifest.Corrupt(source=sample.source, reason=" ".join(str(error).split()))
    except MemoryError:
        return manifest.Corrupt(source=sample.source, reason=NO_MEMORY)


def _write_rows(rows: Sequence[shard_rows.Row], directory: Path, name: str) -> manifest.Shard:
    table = pa.table([list(column) for column in zip(*rows, strict=True)], schema=shard_rows.SCHEMA)
    buffer = pa.BufferOutputStream()
    # JPEG does not compress, and with plain bytes one bad byte damages one row only. Statistics of the other columns
    # would put whole images into the footer, and Arrow's copy of the schema would repeat the digests.
    with pq.ParquetWriter(
        buffer,
        shard_rows.SCHEMA,
        compression="none",
        use_dictionary=["split"],
        write_statistics=["split"],
        store_schema=False,
    ) as writer:
        writer.write_table(table, row_group_size=ROWS_PER_GROUP)
        writer.add_key_value_metadata({shard_rows.DIGESTS_KEY: b"".join(row.digest() for row in rows)})
    data = buffer.getvalue()
    write_atomic(directory / DATA_FOLDER / name, data, directory / TEMPORARY_FOLDER)
    return manifest.Shard(file=name, rows=len(rows), bytes=data.size, sha256=hashlib.sha256(data).hexdigest())
