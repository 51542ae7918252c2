"""A piece: the samples of one shard, and how they become its file, on whatever machine.

Pieces are ranges of the ordered samples, so a shard's bytes depend neither on who makes it nor on the shards around it.
Where images of a piece are corrupt its shard has fewer rows.
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
from raysearch.core import atomic
from raysearch.core.errors import UserError
from raysearch.data.shards import jpeg
from raysearch.data.shards.manifest import Corrupt, FrozenModel, Shard
from raysearch.data.shards.samples import Sample
from raysearch.data.shards.shard_rows import DIGESTS_KEY, SCHEMA, Row

# Folders of the one that shards are made in: what becomes the data set, what is known of its finished shards, and files
# that are being written.
DATA_FOLDER, RECORDS_FOLDER, TEMPORARY_FOLDER = "data", "notes", "half"
# What a random row costs to read: its whole row group. Of 256 random rows in shards of 512, on one core of an EPYC with
# the files in memory, microseconds a row for images of 4.5 kB (96 px) and 20 kB (224 px), beside a whole read in order:
#   rows a group   random, 96 px   224 px   in order, 96 px   224 px   file larger by, 96 px
#              8              14       53                11       17                   1.1 %
#             16              18       49                 5        8                   0.5 %
#             32              23       73                 3        8                   0.2 %
#            128              45      224                 2        4                   0
# Decoding takes 120 and 360. In rows and not in bytes, since decoding grows with an image's bytes as well.
ROWS_PER_GROUP = 16

PreparedImage = (
    tuple[bytes, tuple[int, int]] | Corrupt
)  # the JPEG to keep and its (width, height), or why there is none
ImageMap = Callable[[Callable[[Sample], PreparedImage], Iterable[Sample]], Iterable[PreparedImage]]  # as `map`


class ShardSpec(NamedTuple):
    """The samples of one shard, in canonical order."""

    number: int
    samples: Sequence[Sample]
    labels: dict[str, int]  # of their classes

    @property
    def name(self) -> str:
        return f"{self.number:05d}"


class ShardResult(FrozenModel):
    """What became of a piece: a shard, unless no image of it decodes."""

    shard: Shard | None
    counts: dict[str, dict[int, int]]  # split -> label -> images
    width: tuple[int, ...]  # smallest and largest, pixels; nothing without a shard
    height: tuple[int, ...]
    corrupt: tuple[Corrupt, ...]


def plan_shards(samples: Iterable[Sample], labels: dict[str, int], rows: int) -> Iterator[ShardSpec]:
    """Pieces of `rows` ordered samples each; the last may be shorter."""
    left, number = iter(samples), 0
    while some := list(islice(left, rows)):
        yield ShardSpec(number, some, {sample.label: labels[sample.label] for sample in some})
        number += 1


def writer_versions() -> dict[str, str]:
    """Of what decides a shard's bytes."""
    return {"raysearch": raysearch.__version__, "pyarrow": pa.__version__, "pillow": version("pillow")}


def build_shard(piece: ShardSpec, directory: Path, each: ImageMap = map) -> ShardResult:
    """Write a piece's shard below `directory`, which has the folders DATA and HALF.

    Args:
        piece: what to write.
        directory: where.
        each: how images are read and decoded: one after the other, or by a pool's `map`.

    Raises:
        UserError: a place that this machine does not see.
        OSError: the shard cannot be written.
    """
    if not (directory / TEMPORARY_FOLDER).is_dir():
        raise UserError(f"{directory} is not there on {os.uname().nodename}; every node has to see OUT")
    rows: list[Row] = []
    widths, heights = set[int](), set[int]()
    corrupt: list[Corrupt] = []
    counts: dict[str, dict[int, int]] = {}
    for sample, prepared in zip(piece.samples, each(_prepare, piece.samples), strict=True):
        if isinstance(prepared, Corrupt):
            corrupt.append(prepared)
            continue
        image, (width, height) = prepared
        label = piece.labels[sample.label]
        rows.append(Row(image, label, sample.split, sample.source))
        widths.add(width)
        heights.add(height)
        of_split = counts.setdefault(sample.split, {})
        of_split[label] = of_split.get(label, 0) + 1
    return ShardResult(
        shard=_write(rows, directory, f"{piece.name}.parquet") if rows else None,
        counts=counts,
        width=(min(widths), max(widths)) if rows else (),
        height=(min(heights), max(heights)) if rows else (),
        corrupt=tuple(corrupt),
    )


def write_atomic(path: Path, data: bytes | pa.Buffer, half: Path) -> None:
    """Write a file that is complete or absent; until it is complete, it is in the folder `half` under another name.

    It is not synced to disk, which would cost some milliseconds per shard: readers check each row's digest.
    """
    atomic.replace_file(path, lambda temporary: temporary.write_bytes(data), temporary_in=half, sync=False)


def _prepare(sample: Sample) -> PreparedImage:
    try:
        return jpeg.to_rgb_jpeg(sample.load())
    except (jpeg.CorruptImage, OSError) as error:
        return Corrupt(source=sample.source, reason=" ".join(str(error).split()))


def _write(rows: Sequence[Row], directory: Path, name: str) -> Shard:
    table = pa.table([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)
    buffer = pa.BufferOutputStream()
    # JPEG does not compress, and plain bytes let one bad byte spoil one row only. Statistics of the other columns would
    # put whole images into the footer, and Arrow's copy of the schema the digests once more.
    with pq.ParquetWriter(
        buffer, SCHEMA, compression="none", use_dictionary=["split"], write_statistics=["split"], store_schema=False
    ) as writer:
        writer.write_table(table, row_group_size=ROWS_PER_GROUP)
        writer.add_key_value_metadata({DIGESTS_KEY: b"".join(row.digest() for row in rows)})
    data = buffer.getvalue()
    write_atomic(directory / DATA_FOLDER / name, data, directory / TEMPORARY_FOLDER)
    return Shard(file=name, rows=len(rows), bytes=data.size, sha256=hashlib.sha256(data).hexdigest())
