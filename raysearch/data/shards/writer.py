"""Write Parquet shards: a data set as one directory of Parquet files and a `manifest.json`, all at once or nothing.

This module is also the door to the other halves: samples (`samples`), the columns and `read` (in `rows`),
`read_manifest` (`manifest`), `verify` (`verify`), who makes the shards (`making`) and the format of images (`jpeg`).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

from raysearch.core.errors import Unreachable, UserError
from raysearch.data.shards import publish, resume, workdir
from raysearch.data.shards.executors import RayExecutor, ShardExecutor, ThreadExecutor
from raysearch.data.shards.jpeg import encode_jpeg
from raysearch.data.shards.manifest import (
    FORMAT,
    MANIFEST,
    SPLITS,
    Corrupt,
    Manifest,
    Shard,
    read_manifest,
    shard_paths,
)
from raysearch.data.shards.samples import Sample, canonical_order
from raysearch.data.shards.shard_builder import (
    DATA_FOLDER,
    RECORDS_FOLDER,
    TEMPORARY_FOLDER,
    ShardResult,
    ShardSpec,
    plan_shards,
    writer_versions,
)
from raysearch.data.shards.shard_rows import SCHEMA, content_hash, read_rows, row_digests
from raysearch.data.shards.verify import verify_shards
from raysearch.storage import Location, LocationLike

__all__ = [
    "FORMAT",
    "MANIFEST",
    "SCHEMA",
    "SPLITS",
    "Corrupt",
    "Manifest",
    "RayExecutor",
    "Sample",
    "Shard",
    "ShardExecutor",
    "ThreadExecutor",
    "encode_jpeg",
    "read_manifest",
    "read_rows",
    "shard_paths",
    "verify_shards",
    "write_shards",
]


def write_shards(
    samples: Iterable[Sample],
    out: LocationLike,
    *,
    name: str,
    layout: str,
    classes: Sequence[str] | None = None,
    rows_per_shard: int = 512,
    on_corrupt: Literal["skip", "fail"] = "skip",
    corrupt: Sequence[Corrupt] = (),
    steps: Sequence[str] = (),
    progress: Callable[[int], None] = lambda number: None,
    maker: ShardExecutor = ThreadExecutor(),  # noqa: B008 - it holds no state
    say: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Write samples as shards; all of it appears under `out` at once, or nothing does.

    A write that is interrupted or killed leaves the shards that are finished in a hidden directory beside `out`, and
    the same write goes on from there. A directory that holds the same data is left as it is, and its manifest returned.

    Args:
        samples: in any order.
        out: the directory to make, by its path or URI. For a store, shards are made in this machine's cache, by a
            maker that sees it, and uploaded.
        name: of the data set, and
        layout: where it comes from, for reports.
        classes: names in label order; None: sorted names of the samples'.
        rows_per_shard: samples of which a shard is made; where some are corrupt, it has fewer rows.
        on_corrupt: leave out images that do not decode, or stop at one.
        corrupt: what was left out before, kept in the manifest.
        steps: what was done to the images before, kept in the manifest.
        progress: called with the number of images just done.
        maker: who makes the shards.
        say: called with lines for the user.

    Raises:
        UserError: a corrupt image, or anything in `corrupt`, under `on_corrupt="fail"`, no image that decodes, a
            sample listed twice or with an unknown class or split, an `out` that holds something else or cannot be
            written.
    """
    if rows_per_shard < 1:
        raise UserError(f"rows per shard must be 1 or more, not {rows_per_shard}")
    if on_corrupt not in ("skip", "fail"):
        raise UserError(f"on-corrupt must be skip or fail, not {on_corrupt!r}")
    if corrupt and on_corrupt == "fail":
        more = f"; {len(corrupt):,} such in all" if len(corrupt) > 1 else ""
        raise UserError(f"{corrupt[0].source}: {corrupt[0].reason}{more}")
    target = Location.parse(out)
    publish.existing_manifest(target)  # before the work, not after it
    in_order, labels = canonical_order(samples, classes)
    pieces = list(plan_shards(in_order, labels, rows_per_shard))
    try:
        work = _work(in_order, labels, rows_per_shard)
        with workdir.resumable_workdir(publish.staging_directory(target), work, f"{RECORDS_FOLDER}/*") as directory:
            try:
                made = _make(pieces, directory, on_corrupt, maker, progress, say)
                manifest = _manifest(made, directory / DATA_FOLDER, name, layout, tuple(labels), corrupt, steps)
                (directory / DATA_FOLDER / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", "utf-8")
                return publish.publish_directory(directory / DATA_FOLDER, target, manifest)
            except (KeyboardInterrupt, OSError, Unreachable):
                if kept := len(list((directory / RECORDS_FOLDER).glob("*"))):
                    say(f"broken off: {kept:,} of {len(pieces):,} shards are kept; the same again goes on from there")
                raise
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error


def _work(samples: Sequence[Sample], labels: dict[str, int], rows_per_shard: int) -> str:
    """A hash of what is to be written, as far as the listing says it; the notes of shards know the rest."""
    hashed = hashlib.sha256(json.dumps([FORMAT, writer_versions(), list(labels), rows_per_shard]).encode())
    for sample in samples:
        hashed.update(json.dumps([sample.label, sample.split, sample.source]).encode())
    return hashed.hexdigest()


def _make(
    pieces: Sequence[ShardSpec],
    directory: Path,
    on_corrupt: str,
    maker: ShardExecutor,
    progress: Callable[[int], None],
    say: Callable[[str], None],
) -> list[ShardResult]:
    """What became of each piece: those of which a shard is there already, and those that are made now."""
    shutil.rmtree(directory / TEMPORARY_FOLDER, ignore_errors=True)
    for folder in (DATA_FOLDER, RECORDS_FOLDER, TEMPORARY_FOLDER):
        (directory / folder).mkdir(exist_ok=True)
    made: dict[int, ShardResult] = {}

    def add(number: int, one: ShardResult) -> None:
        if one.corrupt and on_corrupt == "fail":
            raise UserError(f"{one.corrupt[0].source} is corrupt: {one.corrupt[0].reason}")
        made[number] = one

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # reads what is there whole
        for piece, one in zip(
            pieces, pool.map(partial(resume.load_finished, directory=directory), pieces), strict=True
        ):
            if one:
                progress(len(piece.samples))
                add(piece.number, one)
    if made:
        say(f"going on: {len(made):,} of {len(pieces):,} shards are there")
    for number, one in maker((piece for piece in pieces if piece.number not in made), directory, progress):
        add(number, one)
    return [made[piece.number] for piece in pieces]


def _manifest(
    made: Sequence[ShardResult],
    data: Path,
    name: str,
    layout: str,
    classes: tuple[str, ...],
    corrupt: Sequence[Corrupt],
    steps: Sequence[str],
) -> Manifest:
    left_out = (*corrupt, *(bad for one in made for bad in one.corrupt))
    shards = tuple(one.shard for one in made if one.shard)
    if not shards:
        first = f" (first: {left_out[0].source}: {left_out[0].reason})" if left_out else ""
        what = f"all {len(left_out)} images are corrupt{first}" if left_out else "no images"
        raise UserError(f"{what}; nothing to write")
    for path in set(data.iterdir()) - {data / shard.file for shard in shards}:
        path.unlink()  # of images that decoded before
    counts = {split: [0] * len(classes) for split in SPLITS if any(split in one.counts for one in made)}
    for one in made:
        for split, of_labels in one.counts.items():
            for label, number in of_labels.items():
                counts[split][label] += number
    return Manifest(
        name=name,
        layout=layout,
        classes=classes,
        counts={split: tuple(numbers) for split, numbers in counts.items()},
        images=sum(shard.rows for shard in shards),
        width=_range(side for one in made for side in one.width),
        height=_range(side for one in made for side in one.height),
        corrupt=left_out,
        steps=tuple(steps),
        content_hash=content_hash(classes, (row_digests(data / shard.file) for shard in shards)),
        versions=writer_versions(),
        shards=shards,
    )


def _range(sides: Iterable[int]) -> tuple[int, int]:
    found = set(sides)
    return min(found), max(found)
