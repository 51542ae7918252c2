"""Move a written data set to its target, where it appears completely or not at all.

On a disk a directory is renamed into place. An object store has no rename, but shows each object completely or not at
all, and a directory is a data set once it has a manifest. So the shards are uploaded first and `manifest.json` last.
There a shard's name contains the beginning of its SHA-256. So two writers to one target never put different shards
under one name, and an interrupted upload continues with the shards that are there.
"""

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from raysearch.core import Unreachable, UserError, atomic
from raysearch.data.shards.manifest import MANIFEST, Manifest, Shard, read_manifest
from raysearch.storage import Location, cache_dir, private_place

UPLOADS_AT_ONCE = 4
_UPLOADED_SHARD = re.compile(r"\d{5,}-[0-9a-f]{16}\.parquet")


def staging_directory(target: Location) -> Path:
    """Return where a data set is written before it is published: the target itself, or in the cache for a store."""
    path = target.local
    if path is not None:
        return Path(os.path.abspath(path))
    return private_place(cache_dir() / "uploads" / hashlib.sha256(str(target).encode()).hexdigest()[:16])


def existing_manifest(target: Location) -> Manifest | None:
    """Return the manifest of the data set at the target, or None if nothing is there.

    Raises:
        UserError: something else is there, or a damaged data set.
    """
    names = _names_in_store(target) if target.local is None else _names_on_disk(target.local)
    if not names:
        return None
    if MANIFEST not in names:
        raise UserError(f"{target} exists already and is not a data set; remove it or choose another OUT")
    try:
        return read_manifest(target)
    except Unreachable:
        raise
    except UserError as error:
        raise UserError(f"{target} exists already and is damaged ({error}); remove it or choose another OUT") from error


def _names_on_disk(path: Path) -> set[str]:
    try:
        if not path.is_dir():
            if path.is_symlink():
                raise UserError(f"{path} is a link to {path.readlink()}, which is not a directory; choose another OUT")
            return {path.name} if path.exists() else set()
        names = {entry.name for entry in path.iterdir()}
        if not names and (path.is_symlink() or path.is_mount()):  # nothing can be renamed to its place
            kind = f"a link to {path.resolve()}" if path.is_symlink() else "a mount point"
            raise UserError(f"{path} is {kind}; name the directory to create, such as {path.resolve() / 'shards'}")
        return names
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _names_in_store(target: Location) -> set[str]:
    try:
        names = set(target.listing())
    except FileNotFoundError:
        return set()
    # Shards alone are an interrupted upload, or one that is running now.
    return set() if all(_UPLOADED_SHARD.fullmatch(name) for name in names) else names


def rename_data_set(target: Location, manifest: Manifest, name: str) -> Manifest:
    """Give a published data set another name, and return its manifest.

    Args:
        target: the directory of the data set.
        manifest: its manifest.
        name: the new name, for reports.

    Raises:
        UserError: the manifest cannot be written.
    """
    renamed = manifest.model_copy(update={"name": name})
    data = (renamed.model_dump_json(indent=1) + "\n").encode()
    path = target.local
    try:
        if path is None:
            (target / MANIFEST).write(data)
        else:
            atomic.replace_file(path / MANIFEST, lambda temporary: temporary.write_bytes(data))
    except OSError as error:
        raise UserError(f"cannot write {target / MANIFEST}: {error.strerror or error}") from error
    return renamed


def publish_directory(directory: Path, target: Location, manifest: Manifest) -> Manifest:
    """Move or upload a written data set to its target.

    If another writer was first, its data must be the same.

    Args:
        directory: with the manifest's shards; a target on a disk takes it away.
        target: does not exist, or has the same data.
        manifest: the manifest of the shards.

    Returns:
        The manifest at the target.

    Raises:
        UserError: other data is there by now, or the store failed.
        OSError: the disk cannot be written.
    """
    published = existing_manifest(target) if target.local is None else _rename(directory, target, manifest)
    if published is None:
        published = _upload(directory, target, manifest)
    if published.content_hash != manifest.content_hash:
        raise UserError(
            f"{target} holds other data (hash {published.content_hash[:12]}, new {manifest.content_hash[:12]}); "
            "remove it or choose another OUT"
        )
    return published


def _rename(directory: Path, target: Location, manifest: Manifest) -> Manifest:
    path = target.local
    assert path is not None
    try:
        existing = existing_manifest(target)
        if existing is not None:
            return existing
        directory.rename(path)
        return manifest
    except FileExistsError:
        pass
    except OSError:
        if not (path / MANIFEST).is_file():
            raise
    existing = existing_manifest(target)
    assert existing is not None
    return existing


def _upload(directory: Path, target: Location, manifest: Manifest) -> Manifest:
    renamed = [shard.model_copy(update={"file": _uploaded_name(shard)}) for shard in manifest.shards]
    target.make_directory()
    try:
        sizes = target.listing()
    except FileNotFoundError:
        sizes = {}

    def _upload_shard(local: Shard, remote: Shard) -> None:
        if sizes.get(remote.file) != remote.bytes:
            (target / remote.file).upload(directory / local.file)

    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        for _ in pool.map(_upload_shard, manifest.shards, renamed):
            pass
    existing = existing_manifest(target)  # another writer's manifest must not be replaced
    if existing is not None:
        return existing
    uploaded = manifest.model_copy(update={"shards": tuple(renamed)})
    (target / MANIFEST).write((uploaded.model_dump_json(indent=1) + "\n").encode())
    return uploaded


def _uploaded_name(shard: Shard) -> str:
    return f"{Path(shard.file).stem}-{shard.sha256[:16]}.parquet"
