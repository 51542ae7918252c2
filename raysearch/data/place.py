"""The place where a data set appears: nothing is there before, or the same data is."""

from pathlib import Path

from raysearch.data.manifest import MANIFEST, Manifest, read_manifest
from raysearch.errors import UserError


def existing(target: Path) -> Manifest | None:
    """The manifest of a data set that is at `target` already; None where there is nothing.

    Raises UserError: something else is there, or a data set that is damaged.
    """
    try:
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return None
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}") from error
    if not (target / MANIFEST).is_file():
        raise UserError(f"{target} exists already and is no data set; remove it or choose another OUT")
    try:
        return read_manifest(target)
    except UserError as error:
        raise UserError(f"{target} exists already and is damaged ({error}); remove it or choose another OUT") from error


def publish(directory: Path, target: Path, manifest: Manifest) -> Manifest:
    """Rename a directory of shards into its place; where another writer was first, its manifest is returned.

    Raises UserError: that one's data is not the same.
    """
    try:
        if existing(target) is None:
            directory.rename(target)
            return manifest
    except FileExistsError:
        pass
    except OSError as error:
        if not (target / MANIFEST).is_file():
            raise error
    there = existing(target)
    assert there is not None
    if there.content_hash != manifest.content_hash:
        raise UserError(
            f"{target} holds other data (hash {there.content_hash[:12]}, new {manifest.content_hash[:12]}); "
            "remove it or choose another OUT"
        )
    return there
