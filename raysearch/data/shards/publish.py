"""A written data set goes to where it was asked for, and appears there at once or not at all.

On a disk a directory is renamed into place. A store has no such thing, but shows each object whole or not at all, and a
directory is a data set when it has a manifest: so the shards go first and `manifest.json` last. There a shard's name
holds the beginning of its SHA-256, so that two writers to one place cannot put their shards under one name, and an
upload that was broken off goes on with what is there.
"""

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from raysearch.core.errors import Unreachable, UserError
from raysearch.data.shards.manifest import MANIFEST, Manifest, Shard, read_manifest
from raysearch.storage import Location, cache_dir

UPLOADS = 4  # at a time
_UPLOADED = re.compile(r"\d{5,}-[0-9a-f]{16}\.parquet")


def staging_directory(target: Location) -> Path:
    """Where a data set is written before it is published: at the target itself, or on this machine for a store."""
    path = target.local
    if path is not None:
        return Path(os.path.abspath(path))
    return cache_dir() / "uploads" / hashlib.sha256(str(target).encode()).hexdigest()[:16]


def existing_manifest(target: Location) -> Manifest | None:
    """The manifest of a data set that is at the target already; None where there is nothing.

    Raises UserError: something else is there, or a data set that is damaged.
    """
    names = _in_store(target) if target.local is None else _on_disk(target.local)
    if not names:
        return None
    if MANIFEST not in names:
        raise UserError(f"{target} exists already and is no data set; remove it or choose another OUT")
    try:
        return read_manifest(target)
    except Unreachable:
        raise
    except UserError as error:
        raise UserError(f"{target} exists already and is damaged ({error}); remove it or choose another OUT") from error


def _on_disk(path: Path) -> set[str]:
    try:
        if not path.is_dir():
            return {path.name} if path.exists() else set()
        return {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _in_store(target: Location) -> set[str]:
    try:
        names = set(target.listing())
    except FileNotFoundError:
        return set()
    # an upload that was broken off, or that goes on now, is nothing yet
    return set() if all(_UPLOADED.fullmatch(name) for name in names) else names


def publish_directory(directory: Path, target: Location, manifest: Manifest) -> Manifest:
    """Put what was written into `directory` where it belongs; returns the manifest as it is there.

    Where another writer was first, its data has to be the same.

    Args:
        directory: with the shards of the manifest; a target on a disk takes it away.
        target: nothing, or the same data.
        manifest: of the shards.

    Raises:
        UserError: other data is there by now, or a store that failed.
        OSError: the disk cannot be written.
    """
    there = existing_manifest(target) if target.local is None else _rename(directory, target, manifest)
    if there is None:
        there = _upload(directory, target, manifest)
    if there.content_hash != manifest.content_hash:
        raise UserError(
            f"{target} holds other data (hash {there.content_hash[:12]}, new {manifest.content_hash[:12]}); "
            "remove it or choose another OUT"
        )
    return there


def _rename(directory: Path, target: Location, manifest: Manifest) -> Manifest:
    path = target.local
    assert path is not None
    try:
        there = existing_manifest(target)
        if there is not None:
            return there
        directory.rename(path)
        return manifest
    except FileExistsError:
        pass
    except OSError:
        if not (path / MANIFEST).is_file():
            raise
    there = existing_manifest(target)
    assert there is not None
    return there


def _upload(directory: Path, target: Location, manifest: Manifest) -> Manifest:
    named = [shard.model_copy(update={"file": _uploaded_name(shard)}) for shard in manifest.shards]
    target.make_directory()
    try:
        sizes = target.listing()
    except FileNotFoundError:
        sizes = {}

    def put(old: Shard, new: Shard) -> None:
        if sizes.get(new.file) != new.bytes:
            (target / new.file).upload(directory / old.file)

    with ThreadPoolExecutor(UPLOADS) as pool:
        for _ in pool.map(put, manifest.shards, named):
            pass
    there = existing_manifest(target)  # another writer's manifest must not be replaced
    if there is not None:
        return there
    uploaded = manifest.model_copy(update={"shards": tuple(named)})
    (target / MANIFEST).write((uploaded.model_dump_json(indent=1) + "\n").encode())
    return uploaded


def _uploaded_name(shard: Shard) -> str:
    return f"{Path(shard.file).stem}-{shard.sha256[:16]}.parquet"
