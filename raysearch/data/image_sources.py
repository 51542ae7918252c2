"""Images to be encoded, wherever they lie: a folder that is walked, or shards.

A folder's images are the files that are named as images, in all sub-folders, in the order of their paths. An image's
label is the name of the folder that it lies in, if that is not the folder itself. Shards give their images in canonical
order, with their class as label and their `source` as path.

Or images to learn classes from: a folder with one folder a class.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from raysearch.core.errors import UserError
from raysearch.data.layouts.readers.disk import EXTENSIONS, class_folders, visible
from raysearch.data.shards import MANIFEST, Manifest, read_manifest, read_shard
from raysearch.storage import Location, LocationLike


class SourceImage(NamedTuple):
    """An image that is not read yet; `load()` returns its file's bytes, or raises OSError."""

    path: str  # below the place, with forward slashes
    label: str | None
    load: Callable[[], bytes]


class FoundImages(NamedTuple):
    total: int
    photos: Iterator[SourceImage]
    others: int  # files that are not named as images


def find_images(place: LocationLike) -> FoundImages:
    """The images of a place; what a URI of a store names is a directory of shards.

    Raises:
        UserError: no such directory, one that cannot be read, one without images, damaged shards.
    """
    where = Location.parse(place)
    root = where.local
    if root is None or (root / MANIFEST).is_file():
        manifest = read_manifest(where)
        return FoundImages(manifest.images, _of_shards(where, manifest), 0)
    if not root.is_dir():
        raise UserError(f"{place} is not a directory" if root.exists() else f"no folder {place}")
    try:
        files = sorted(_walk(root, ()), key=lambda file: file.relative_to(root).as_posix())
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error
    named = [file for file in files if file.suffix.lower() in EXTENSIONS]
    if not named:
        raise UserError(f"{place} holds no images ({', '.join(sorted(EXTENSIONS))}), nor do its sub-folders")
    return FoundImages(len(named), (_of_file(root, file) for file in named), len(files) - len(named))


def images_by_class(place: str | os.PathLike[str]) -> dict[str, list[Path]]:
    """Class -> its images, which lie in PLACE/<class>/, both by name; a class may have none.

    Raises:
        UserError: no such directory, one that cannot be read, one without class folders, folders in those.
    """
    root = Path(place)
    if not root.is_dir():
        raise UserError(f"{place} is not a directory" if root.exists() else f"no folder {place}")
    try:
        classes = class_folders(root, "")
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not classes:
        raise UserError(f"{place} holds no class folders; images lie in {place}/<class>/")
    for label in classes:
        try:
            label.encode()
        except UnicodeEncodeError:
            raise UserError(f"the folder name {label!a} in {place} is not UTF-8") from None
    return {label: [root / source for source in found] for label, found in classes.items()}


def _walk(directory: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Files below; links are followed, except to a folder that is walked already."""
    here = directory.resolve()
    if here in above:
        return
    for entry in visible(directory):
        if entry.is_dir():
            yield from _walk(entry, (*above, here))
        elif entry.is_file():
            yield entry


def _of_file(root: Path, file: Path) -> SourceImage:
    label = None if file.parent == root else file.parent.name
    return SourceImage(file.relative_to(root).as_posix(), label, file.read_bytes)


def _of_shards(root: Location, manifest: Manifest) -> Iterator[SourceImage]:
    for shard in manifest.shards:
        table = read_shard(root / shard.file, ["image", "label", "source"])
        columns = (table[name].to_pylist() for name in ("source", "label", "image"))
        for source, label, image in zip(*columns, strict=True):
            yield SourceImage(source, manifest.classes[label], partial(bytes, image))
