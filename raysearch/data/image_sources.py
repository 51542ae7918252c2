"""Images to index or to classify, from a folder or from shards.

A folder's images are the files with an image's file extension, in all sub-folders, in the order of their paths. An
image's label is the name of its folder, unless that is the folder itself. Shards give their images in canonical order,
with the class as label and the `source` as path. `images_by_class` reads examples of classes: one folder per class.
Everything else in a folder is counted by its reason, as an ingest counts it.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from raysearch.core import UserError
from raysearch.data import reading_account, shards, source_tree
from raysearch.data.layouts.readers.disk import class_folders
from raysearch.data.source_tree import Entry, is_image_name
from raysearch.storage import Location, LocationLike

OUTSIDE_CLASSES = "an image outside the class folders"


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
    account: reading_account.ReadingAccount  # of everything at the location, as if all its images could be read


def find_images(location: LocationLike, follow_links: bool = False) -> FoundImages:
    """Find the images at a location. A URI of a store names a directory of shards.

    Args:
        location: a folder of images, or a directory of shards.
        follow_links: also read links that lead out of the folder.

    Raises:
        UserError: no such directory, one that cannot be read, one without images, or damaged shards.
    """
    parsed = Location.parse(location)
    root = parsed.local
    if root is None or (root / shards.MANIFEST).is_file():
        manifest = shards.read_manifest(parsed)
        account = reading_account.ReadingAccount(read=manifest.images)
        return FoundImages(manifest.images, _images_of_shards(parsed, manifest), 0, account)
    entries = _entries(root, str(location), follow_links)
    paths = sorted(entry.path for entry in entries if not entry.reason and is_image_name(entry.path))
    account = _account(entries, paths)
    if not paths:
        raise UserError(f"{location} holds no images, nor do its sub-folders{describe_unread(account)}")
    others = sum(not entry.reason and not is_image_name(entry.path) for entry in entries)
    images = (_image_of_file(root, path) for path in paths)
    return FoundImages(len(paths), images, others, account)


def images_by_class(folder: str | os.PathLike[str], follow_links: bool = False) -> dict[str, list[Path]]:
    """Return class -> its images in FOLDER/<class>/, both sorted by name; a class may have no images.

    Args:
        folder: the folder of the class folders.
        follow_links: also read links that lead out of the folder.

    Raises:
        UserError: no such directory, one that cannot be read, one without class folders, or folders in those.
    """
    root = Path(folder)
    entries = _entries(root, str(folder), follow_links)
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
    readable = {entry.path for entry in entries if not entry.reason}
    return {label: [root / source for source in sources if source in readable] for label, sources in classes.items()}


def account_of_examples(
    folder: str | os.PathLike[str], classes: dict[str, list[Path]], follow_links: bool = False
) -> reading_account.ReadingAccount:
    """Return the account of a folder of examples.

    Args:
        folder: the folder of the class folders.
        classes: class -> its images, from `images_by_class`.
        follow_links: as given there.

    Raises:
        UserError: no such directory, or one that cannot be read.
    """
    root = Path(folder)
    read = [path.relative_to(root).as_posix() for paths in classes.values() for path in paths]
    return _account(_entries(root, str(folder), follow_links), read, OUTSIDE_CLASSES)


def describe_unread(account: reading_account.ReadingAccount) -> str:
    """Return the largest groups of what was left out, to end a message that there are no images.

    >>> unread = reading_account.Unused("file", "a.raw", "the ending .raw is not read")
    >>> describe_unread(reading_account.account_of(0, [unread]))
    '; left out: 1 file (the ending .raw is not read: a.raw)'
    """
    largest = sorted(account.left_out, key=lambda entry: -entry.number)[:3]
    if not largest:
        return ""
    described = account.model_copy(update={"left_out": tuple(largest)}).describe()
    return "; left out:" + described.partition("left out:")[2]


def _entries(root: Path, shown: str, follow_links: bool) -> list[Entry]:
    if not root.is_dir():
        raise UserError(f"{shown} is not a directory" if root.exists() else f"no folder {shown}")
    try:
        return list(source_tree.walk(root, follow_links))
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error


def _account(entries: list[Entry], read: list[str], rest: str = "") -> reading_account.ReadingAccount:
    return reading_account.account_of(len(read), source_tree.unread(iter(entries), set(read), lambda path: "", rest))


def _image_of_file(root: Path, path: str) -> SourceImage:
    folder = path.rpartition("/")[0]
    return SourceImage(path, folder.rpartition("/")[2] or None, shards.FileLoader(str(root), path).__call__)


def _images_of_shards(root: Location, manifest: shards.Manifest) -> Iterator[SourceImage]:
    for shard in manifest.shards:
        table = shards.read_shard(root / shard.file, ["image", "label", "source"], len(manifest.classes))
        columns = (table[name].to_pylist() for name in ("source", "label", "image"))
        for source, label, image in zip(*columns, strict=True):
            yield SourceImage(source, manifest.classes[label], partial(bytes, image))
