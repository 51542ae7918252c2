"""Records of finished shards, so that an interrupted ingest can continue.

A record is written once its shard is complete. It contains a digest of the shard's inputs: the samples, the stamps of
their loaders, and the versions that decide its bytes. A shard is reused only if that digest is the same now, and the
file still has the recorded size and SHA-256.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from raysearch.data.shards import manifest, samples, shard_builder, shard_rows


class ShardRecord(manifest.FrozenModel):
    """One file in RECORDS_FOLDER: the digest of the inputs, and the result."""

    made_from: str
    made: shard_builder.ShardResult


def input_digest(spec: shard_builder.ShardSpec) -> str | None:
    """Return a hash of everything that decides a shard's bytes, or None if a loader has no stamp."""
    inputs = [json.dumps([manifest.FORMAT, shard_builder.ROWS_PER_GROUP, shard_builder.writer_versions()])]
    for sample in spec.samples:
        stamp = samples.loader_stamp(sample.load)
        if stamp is None:
            return None
        inputs.append(f"{spec.labels[sample.label]}\0{sample.split}\0{sample.source}\0{stamp}")
    return hashlib.sha256("\n".join(inputs).encode()).hexdigest()


def save_record(
    spec: shard_builder.ShardSpec, directory: Path, digest: str | None, result: shard_builder.ShardResult
) -> None:
    """Record that a shard is finished.

    Args:
        spec: the spec of the shard.
        directory: the work directory.
        digest: `input_digest` from before the images were read; with None nothing is recorded.
        result: the result of building the shard.

    Raises:
        OSError: the record cannot be written.
    """
    if digest is not None:
        record = ShardRecord(made_from=digest, made=result)
        shard_builder.write_atomic(
            _record_path(spec, directory), record.model_dump_json().encode(), directory / shard_builder.TEMPORARY_FOLDER
        )


def load_finished(spec: shard_builder.ShardSpec, directory: Path) -> shard_builder.ShardResult | None:
    """Return the result of a finished shard; None without a record, with other inputs, or with a damaged file."""
    with contextlib.suppress(FileNotFoundError, ValidationError):
        record = ShardRecord.model_validate_json(_record_path(spec, directory).read_bytes())
        if record.made_from == input_digest(spec) and _is_intact(record.made, directory / shard_builder.DATA_FOLDER):
            return record.made
    return None


def _record_path(spec: shard_builder.ShardSpec, directory: Path) -> Path:
    return directory / shard_builder.RECORDS_FOLDER / f"{spec.name}.json"


def _is_intact(result: shard_builder.ShardResult, data: Path) -> bool:
    if result.images is None:
        return False
    if result.shard is None:
        return True
    path = data / result.shard.file
    return path.stat().st_size == result.shard.bytes and shard_rows.file_sha256(path) == result.shard.sha256
