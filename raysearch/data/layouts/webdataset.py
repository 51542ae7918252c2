"""WebDataset: tar files in which the members with one key are one image: `key.jpg` with `key.cls` or `key.json`.

The format of github.com/webdataset/webdataset. A key is a member's path up to the first dot of its file name, and the
members of a key follow each other. `.cls` holds the label as text, `.json` an object with `label`, `cls` or `class`.
Names of labels are read from `classnames.txt` or `classes.txt` in SRC, one line per class, if there is one.

Traps. Labels that are numbers are sorted as numbers (as text, 10 would come before 2). Only uncompressed tar files are
read, since images are read by their offset in the file and unpacked nowhere. A truncated file is named, and its members
before the end are used.
"""

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from raysearch.core import UserError
from raysearch.data.layouts.layout import Layout, Listing, register_layout
from raysearch.data.layouts.readers import archives, disk
from raysearch.data.shards import Corrupt, CorruptImage, SliceLoader
from raysearch.data.source_tree import image_endings, is_image_name

NAME_FILES = ("classnames.txt", "classes.txt")
LABEL_KEYS = ("label", "cls", "class")
PROBED_MEMBERS = 16  # enough to tell WebDataset from an unrelated archive


def read_webdataset(src: str, test_fraction: float | None = None) -> Listing:
    """List the images of all tar files in SRC and its folders.

    Args:
        src: directory of the tar files.
        test_fraction: share of each class for testing, if no file names its part; None for the default.

    Raises:
        UserError: no tar file, or only some files name their part.
    """
    with disk.directory(src) as root:
        paths = archives.find_files(root, ".tar")
        if not paths:
            raise UserError(f"SRC {src} holds no .tar file")
        names = next((disk.read_lines(root / name) for name in NAME_FILES if (root / name).is_file()), [])
        corrupt: list[Corrupt] = []
        images = [(path, image) for path in paths for image in _list_images(root, path, corrupt)]
        parts = archives.parts_of_files(root, paths)
        return archives.listing_from_archives(root, images, parts, names, test_fraction, corrupt)


def recognize(root: Path) -> str:
    """Recognize a tar file that begins with an image and a label of one key."""
    for path in archives.find_files(root, ".tar"):
        kinds: dict[str, set[str]] = {}
        try:
            for member in _members(path, PROBED_MEMBERS):
                key, kind = _split_member_name(member.name)
                kinds.setdefault(key, set()).add("image" if is_image_name(member.name) else kind)
        except tarfile.TarError:
            continue
        if any("image" in key_kinds and key_kinds & {"cls", "json"} for key_kinds in kinds.values()):
            return f"images with .cls or .json in {path.relative_to(root)}"
    return ""


def _members(path: Path, limit: int | None = None) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(path, "r:") as tar:
        for count, member in enumerate(tar):
            if count == limit:
                return
            if member.isfile():
                yield member
    with path.open("rb") as file:  # tarfile takes a truncated header for the end
        file.seek(-min(path.stat().st_size, tarfile.BLOCKSIZE), os.SEEK_END)
        if file.read() != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("no end marker")


def _split_member_name(name: str) -> tuple[str, str]:
    """Return the key and the kind of a member: its path, cut at the first dot of the file name.

    >>> _split_member_name("a.b/0001.seg.png")
    ('a.b/0001', 'seg.png')
    """
    path = PurePosixPath(name)
    stem, _, kind = path.name.partition(".")
    return str(path.parent / stem), kind.lower()


def _list_images(root: Path, path: Path, corrupt: list[Corrupt]) -> list[archives.ArchivedImage]:
    """List the labeled images of a tar file; others, and what cannot be read, are added to `corrupt`."""
    archive = path.relative_to(root).as_posix()
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, str] = {}
    try:
        for member in _members(path):
            key, kind = _split_member_name(member.name)
            if f".{kind}" in image_endings():
                images[key] = member
            elif kind in ("cls", "json"):
                labels.setdefault(key, _parse_label(_member_loader(path, member)(), kind))
    except (tarfile.TarError, CorruptImage) as error:
        corrupt.append(Corrupt(source=archive, reason=f"it breaks off after {len(images):,} images ({error})"))
    labeled = []
    for key, member in images.items():
        source = f"{archive}/{member.name}"
        if label := labels.get(key):
            labeled.append(archives.ArchivedImage(source, label, _member_loader(path, member)))
        else:
            corrupt.append(Corrupt(source=source, reason=f"no {key}.cls or {key}.json with a label beside it"))
    return labeled


def _member_loader(path: Path, member: tarfile.TarInfo) -> SliceLoader:
    return SliceLoader(str(path), member.offset_data, member.size, str(path))


def _parse_label(data: bytes, kind: str) -> str:
    text = data.decode("utf-8", "replace").strip()
    if kind == "cls":
        return text
    try:
        fields = json.loads(text)
    except ValueError:
        return ""
    values = [fields[key] for key in LABEL_KEYS if key in fields] if isinstance(fields, dict) else []
    return str(values[0]).strip() if values and isinstance(values[0], (str, int)) else ""


LAYOUT = register_layout(
    Layout(
        name="webdataset",
        about="WebDataset's tar files",
        looks_for="*.tar with key.jpg and key.cls or key.json",
        recognize=recognize,
        read=read_webdataset,
    )
)
