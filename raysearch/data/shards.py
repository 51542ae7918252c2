"""Write Parquet shards: a data set as one directory of Parquet files and a `manifest.json`, all at once or nothing.

This module is also the door to the other halves: the columns and `read` (in `rows`), `read_manifest` (`manifest`),
`verify` (`verify`) and the format of images (`jpeg`).
"""

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

import raysearch
from raysearch.data import jpeg, publish, scratch
from raysearch.data.jpeg import encode
from raysearch.data.manifest import FORMAT, MANIFEST, SPLITS, Corrupt, Manifest, Shard, read_manifest, shard_paths
from raysearch.data.places import Location, Place
from raysearch.data.rows import CHECKSUMS, SCHEMA, ContentHash, Row, file_sha256, read
from raysearch.data.verify import verify
from raysearch.errors import UserError, nearest

__all__ = [
    "FORMAT",
    "MANIFEST",
    "SCHEMA",
    "SPLITS",
    "Corrupt",
    "Manifest",
    "Sample",
    "Shard",
    "encode",
    "read",
    "read_manifest",
    "shard_paths",
    "verify",
    "write",
]

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Sample:
    """An image that is not read yet; `load()` returns the bytes of an image file in any format Pillow knows."""

    source: str
    label: str
    split: str
    load: Callable[[], bytes]


def write(
    samples: Iterable[Sample],
    out: Location,
    *,
    name: str,
    layout: str,
    classes: Sequence[str] | None = None,
    rows_per_shard: int = 512,
    on_corrupt: Literal["skip", "fail"] = "skip",
    corrupt: Sequence[Corrupt] = (),
    steps: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Write samples as shards; all of it appears under `out`, a path or a URI, at once, or nothing does.

    `classes` are the class names in label order (sorted names of the samples when left out); `corrupt`, what was left
    out before, and `steps`, what was done to the images before, are kept in the manifest; `progress` is called with the
    number of images just done. A directory that holds the same data is left as it is, and its manifest returned.

    Raises UserError: a corrupt image, or anything in `corrupt`, under `on_corrupt="fail"`, no image that decodes, a
    sample listed twice or with an unknown class or split, an `out` that holds something else or cannot be written.
    """
    if rows_per_shard < 1:
        raise UserError(f"rows per shard must be 1 or more, not {rows_per_shard}")
    if on_corrupt not in ("skip", "fail"):
        raise UserError(f"on-corrupt must be skip or fail, not {on_corrupt!r}")
    if corrupt and on_corrupt == "fail":
        more = f"; {len(corrupt):,} such in all" if len(corrupt) > 1 else ""
        raise UserError(f"{corrupt[0].source}: {corrupt[0].reason}{more}")
    target = Place.parse(out)
    publish.existing(target)  # before the work, not after it
    ordered = list(samples)
    classes = tuple(classes if classes is not None else sorted({sample.label for sample in ordered}))
    labels = _check(ordered, classes)
    ordered.sort(key=lambda sample: (labels[sample.label], sample.source))
    try:
        with scratch.beside(publish.staging(target)) as directory:
            manifest = _write_all(
                ordered, directory, labels, name, layout, rows_per_shard, on_corrupt, list(corrupt), progress
            )
            manifest = manifest.model_copy(update={"steps": tuple(steps)})
            (directory / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", "utf-8")
            return publish.publish(directory, target, manifest)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error


def _check(samples: Sequence[Sample], classes: tuple[str, ...]) -> dict[str, int]:
    """Class name -> label, once every sample is known to have a class, a split and a source of its own."""
    labels = {name: label for label, name in enumerate(classes)}
    if len(labels) != len(classes):
        raise UserError("a class name is given twice")
    seen: set[str] = set()
    for sample in samples:
        if sample.label not in labels:
            raise UserError(f"{sample.source}: unknown class {sample.label!r}{nearest(sample.label, classes)}")
        if sample.split not in SPLITS:
            raise UserError(f"{sample.source}: unknown split {sample.split!r}{nearest(sample.split, SPLITS)}")
        if sample.source in seen:
            raise UserError(f"{sample.source} is listed twice")
        try:
            sample.source.encode()
        except UnicodeEncodeError:
            raise UserError(f"the file name {sample.source!a} is not UTF-8; rename it") from None
        seen.add(sample.source)
    return labels


def _write_all(
    samples: Sequence[Sample],
    directory: Path,
    labels: dict[str, int],
    name: str,
    layout: str,
    rows_per_shard: int,
    on_corrupt: str,
    corrupt: list[Corrupt],
    progress: Callable[[int], None] | None,
) -> Manifest:
    sizes: list[tuple[int, int]] = []
    counts = {split: [0] * len(labels) for split in SPLITS if any(sample.split == split for sample in samples)}
    content = ContentHash(tuple(labels))

    def rows() -> Iterator[Row]:
        for sample, result in _prepared(samples):
            if progress:
                progress(1)
            if isinstance(result, Corrupt):
                if on_corrupt == "fail":
                    raise UserError(f"{result.source} is corrupt: {result.reason}")
                corrupt.append(result)
                continue
            image, size = result
            row = Row(image, labels[sample.label], sample.split, sample.source)
            sizes.append(size)
            counts[row.split][row.label] += 1
            content.add(row)
            yield row

    shards = [
        _write_shard(chunk, directory / f"{number:05d}.parquet")
        for number, chunk in enumerate(_batches(rows(), rows_per_shard))
    ]
    if not shards:
        first = f" (first: {corrupt[0].source}: {corrupt[0].reason})" if corrupt else ""
        what = f"all {len(corrupt)} images are corrupt{first}" if corrupt else "no images"
        raise UserError(f"{what}; nothing to write")
    widths, heights = zip(*sizes, strict=True)
    return Manifest(
        name=name,
        layout=layout,
        classes=tuple(labels),
        counts={split: tuple(numbers) for split, numbers in counts.items()},
        images=len(sizes),
        width=(min(widths), max(widths)),
        height=(min(heights), max(heights)),
        corrupt=tuple(corrupt),
        content_hash=content.hex(),
        versions={"raysearch": raysearch.__version__, "pyarrow": pa.__version__, "pillow": version("pillow")},
        shards=tuple(shards),
    )


def _prepared(samples: Sequence[Sample]) -> Iterator[tuple[Sample, tuple[bytes, tuple[int, int]] | Corrupt]]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in _batches(iter(samples), 256):  # bounds what is in memory; decoders leave the GIL to each other
            yield from zip(batch, pool.map(_prepare, batch), strict=True)


def _prepare(sample: Sample) -> tuple[bytes, tuple[int, int]] | Corrupt:
    """The JPEG to keep and its (width, height), or why there is none."""
    try:
        return jpeg.normalise(sample.load())
    except (jpeg.CorruptImage, OSError) as error:
        return Corrupt(source=sample.source, reason=" ".join(str(error).split()))


def _batches(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while batch := list(islice(items, size)):
        yield batch


def _write_shard(rows: Sequence[Row], path: Path) -> Shard:
    checksums = [row.crc32() for row in rows]
    schema = SCHEMA.with_metadata({CHECKSUMS: struct.pack(f"<{len(rows)}I", *checksums)})
    table = pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema)
    # JPEG does not compress, and plain bytes let one bad byte spoil one row only
    pq.write_table(table, path, row_group_size=128, compression="none", use_dictionary=["split"])
    return Shard(file=path.name, rows=len(rows), bytes=path.stat().st_size, sha256=file_sha256(path))
