"""Images to index or to classify, from a folder or from shards.

A folder's images are the files with an image's file extension, in all sub-folders, in the order of their paths. An
image's label is the name of its folder, unless that is the folder itself. Shards give their images in canonical order,
with the class as label and the `source` as path. `images_by_class` reads examples of classes: one folder per class.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from raysearch.core import UserError
from raysearch.data.layouts.readers.disk import class_folders, visible
from raysearch.data.shards import MANIFEST, Manifest, read_manifest, read_shard
from raysearch.data.source_tree import is_image_name
from raysearch.storage import Location, LocationLike


class SourceImage(NamedTuple):
    """An image that is not read yet; `load()` returns its file's bytes, or raises OSError."""

    path: str  # relative, with forward slashes
    label: str | None
    load: Callable[[], bytes]


class FoundImages(NamedTuple):
    """The images at a location."""

    total: int
    images: Iterator[SourceImage]
    others: int  # files without an image's extension


def find_images(location: LocationLike) -> FoundImages:
    """Find the images at a location. A URI of a store names a directory of shards.

    Args:
        location: a folder of images, or a directory of shards.

    Raises:
        UserError: no such directory, one that cannot be read, one without images, or damaged shards.
    """
    parsed = Location.parse(location)
    root = parsed.local
    if root is None or (root / MANIFEST).is_file():
        manifest = read_manifest(parsed)
        return FoundImages(manifest.images, _images_of_shards(parsed, manifest), 0)
    if not root.is_dir():
        raise UserError(f"{location} is not a directory" if root.exists() else f"no folder {location}")
    try:
        files = sorted(_walk(root, ()), key=lambda file: file.relative_to(root).as_posix())
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error
    image_files = [file for file in files if is_image_name(file.name)]
    if not image_files:
        raise UserError(f"{location} holds no images, nor do its sub-folders")
    images = (_image_of_file(root, file) for file in image_files)
    return FoundImages(len(image_files), images, len(files) - len(image_files))


def images_by_class(folder: str | os.PathLike[str]) -> dict[str, list[Path]]:
    """Return class -> its images in FOLDER/<class>/, both sorted by name; a class may have no images.

    Raises:
        UserError: no such directory, one that cannot be read, one without class folders, or folders in those.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{folder} is not a directory" if root.exists() else f"no folder {folder}")
    try:
        classes = class_folders(root, "")
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not classes:
        raise UserError(f"{folder} holds no class folders; put images into {folder}/<class>/")
    for label in classes:
        try:
            label.encode()
        except UnicodeEncodeError:
            raise UserError(f"the folder name {label!a} in {folder} is not UTF-8; rename it") from None
    return {label: [root / source for source in sources] for label, sources in classes.items()}


def _walk(directory: Path, parents: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files below; links are followed, except to a folder that is being walked."""
    resolved = directory.resolve()
    if resolved in parents:
        return
    for entry in visible(directory):
        if entry.is_dir():
            yield from _walk(entry, (*parents, resolved))
        elif entry.is_file():
            yield entry


def _image_of_file(root: Path, file: Path) -> SourceImage:
    label = None if file.parent == root else file.parent.name
    return SourceImage(file.relative_to(root).as_posix(), label, file.read_bytes)


def _images_of_shards(root: Location, manifest: Manifest) -> Iterator[SourceImage]:
    for shard in manifest.shards:
        table = read_shard(root / shard.file, ["image", "label", "source"])
        columns = (table[name].to_pylist() for name in ("source", "label", "image"))
        for source, label, image in zip(*columns, strict=True):
            yield SourceImage(source, manifest.classes[label], partial(bytes, image))
