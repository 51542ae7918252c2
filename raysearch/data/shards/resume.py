"""Notes of finished shards, by which an ingest that was killed goes on.

A note is written once its shard is there whole. It says what the shard was made from: the samples, the stamps of their
loaders, and the versions of what decides its bytes. A shard is taken over only where all of that is the same as now and
the file is, by its size and SHA-256, the one that was written.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from raysearch.data.shards import loaders
from raysearch.data.shards.manifest import FORMAT, FrozenModel
from raysearch.data.shards.shard_builder import (
    DATA_FOLDER,
    RECORDS_FOLDER,
    ROWS_PER_GROUP,
    TEMPORARY_FOLDER,
    ShardResult,
    ShardSpec,
    write_atomic,
    writer_versions,
)
from raysearch.data.shards.shard_rows import file_sha256


class ShardRecord(FrozenModel):
    """What lies in NOTES."""

    made_from: str
    made: ShardResult


def input_digest(piece: ShardSpec) -> str | None:
    """A hash of all that decides a piece's shard; None where a loader cannot say what it stands on."""
    said = [json.dumps([FORMAT, ROWS_PER_GROUP, writer_versions()])]
    for sample in piece.samples:
        stamp = loaders.loader_stamp(sample.load)
        if stamp is None:
            return None
        said.append(f"{piece.labels[sample.label]}\0{sample.split}\0{sample.source}\0{stamp}")
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def save_record(piece: ShardSpec, directory: Path, stands_on: str | None, made: ShardResult) -> None:
    """Note that a shard is finished; `stands_on` is what `made_from` said before its images were read."""
    if stands_on is not None:
        note = ShardRecord(made_from=stands_on, made=made)
        write_atomic(_path(piece, directory), note.model_dump_json().encode(), directory / TEMPORARY_FOLDER)


def load_finished(piece: ShardSpec, directory: Path) -> ShardResult | None:
    """What became of a piece before; None where that is unknown, of other samples, or not whole."""
    with contextlib.suppress(FileNotFoundError, ValidationError):
        note = ShardRecord.model_validate_json(_path(piece, directory).read_bytes())
        if note.made_from == input_digest(piece) and _is_whole(note.made, directory / DATA_FOLDER):
            return note.made
    return None


def _path(piece: ShardSpec, directory: Path) -> Path:
    return directory / RECORDS_FOLDER / f"{piece.name}.json"


def _is_whole(made: ShardResult, data: Path) -> bool:
    if made.shard is None:
        return True
    path = data / made.shard.file
    return path.stat().st_size == made.shard.bytes and file_sha256(path) == made.shard.sha256
