"""WebDataset: tar files in which neighboring members with one key are one image: `key.jpg` with `key.cls`.

The format of github.com/webdataset/webdataset. A key is a member's path up to the first dot of its file name, and the
members of a key follow each other. `.cls` holds the label as text, `.json` an object with `label`, `cls` or `class`.
Names of labels are read from `classnames.txt` or `classes.txt` in SRC, one line per class, if there is one.

Traps. In concatenated archives keys return: a key that returns after another key, or with a kind of member that it has
already, is another sample, as in WebDataset. `22.05.jpg` has the key `22`: it is an image of its own with `22.05.cls`,
and the sample's image if there is no `22.jpg`. One image per label is read; other images of the key, links, devices,
sparse and hidden members are counted. Labels that are numbers are sorted as numbers (as text, 10 would come before 2).
Images are read by their offset in the file; a compressed archive is unpacked to a temporary file. A truncated file is
named, and its members before the end are used.
"""

import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from raysearch.core import UserError
from raysearch.data import reading_account, shards, source_tree
from raysearch.data.layouts.layout import Layout, register_layout
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import archives, disk, tar_members
from raysearch.data.layouts.readers.tar_members import Archive
from raysearch.data.layouts.readers.temporary_images import TemporaryImages

NAME_FILES = ("classnames.txt", "classes.txt")
LABEL_KEYS = ("label", "cls", "class")
LABEL_ENDINGS = ("cls", "json")
LARGEST_LABEL = 1 << 20  # bytes of a .cls or .json member
PROBED_MEMBERS = 16  # enough to tell WebDataset from an unrelated archive
ANOTHER_IMAGE = "another image of a key that has one"


class Member(NamedTuple):
    """A regular member of a tar file."""

    name: str
    key: str
    field: str  # between the key and the ending: "" of `1.jpg`, "seg" of `1.seg.png`
    ending: str  # in lower case, without its dot
    offset: int
    size: int

    @property
    def is_image(self) -> bool:
        """Whether the ending is that of an image."""
        return source_tree.is_image_name(f"_.{self.ending}")


class _Found(NamedTuple):
    """The content of one tar file."""

    images: list[archives.ArchivedImage]
    corrupt: list[shards.Corrupt]
    unused: list[reading_account.Unused]


def read_webdataset(src: str, test_fraction: float | None = None) -> Listing:
    """List the images of all tar files in SRC and its folders.

    Args:
        src: directory of the tar files.
        test_fraction: share of each class for testing, if no file names its part; None for the default.

    Raises:
        UserError: no tar file, or only some files name their part.
    """
    with disk.directory(src) as root:
        paths = archives.find_files(root, tar_members.ENDINGS)
        if not paths:
            raise UserError(f"SRC {src} holds no .tar file")
        name_file = next((name for name in NAME_FILES if (root / name).is_file()), "")
        names = disk.read_lines(root / name_file) if name_file else []
        stores: list[TemporaryImages] = []
        contents = {path: _read_archive(root, tar_members.open_archive(path, stores)) for path in paths}
        images = [(path, image) for path, content in contents.items() for image in content.images]
        corrupt = [image for content in contents.values() for image in content.corrupt]
        parts = archives.parts_of_files(root, paths)
        listing = archives.listing_from_archives(root, images, parts, names, test_fraction, corrupt)
        used = [path.relative_to(root).as_posix() for path in paths] + [name_file] * bool(name_file)
        unused = tuple(entry for content in contents.values() for entry in content.unused)
        return replace(listing, used=tuple(used), unused=unused)


def recognize(root: Path) -> str:
    """Recognize a tar file that begins with an image and a label of one key."""
    for path in archives.find_files(root, tar_members.ENDINGS):
        kinds: dict[str, set[str]] = {}
        for info in tar_members.first_members(path, PROBED_MEMBERS):
            if info.isfile() and (member := _member(info)):
                kinds.setdefault(member.key, set()).add("image" if member.is_image else member.ending)
        if any("image" in key_kinds and key_kinds & {*LABEL_ENDINGS} for key_kinds in kinds.values()):
            return f"images with .cls or .json in {path.relative_to(root)}"
    return ""


def split_member_name(name: str) -> tuple[str, str, str] | None:
    """Return the key of a member, its field and its ending; None if the name has no dot.

    >>> split_member_name("a.b/0001.seg.PNG"), split_member_name("README")
    (('a.b/0001', 'seg', 'png'), None)
    """
    path = PurePosixPath(name)
    stem, dot, kind = path.name.partition(".")
    if not dot:
        return None
    field, _, ending = kind.lower().rpartition(".")
    return str(path.parent / stem), field, ending


def _member(info: tarfile.TarInfo) -> Member | None:
    parts = split_member_name(info.name)
    return None if parts is None else Member(info.name, *parts, info.offset_data, info.size)


def _read_archive(root: Path, archive: Archive) -> _Found:
    """List the labeled images of a tar file; everything else in it is named with its reason."""
    relative = archive.path.relative_to(root).as_posix()
    content = _Found([], [], [])
    samples: list[list[Member]] = []
    try:
        for member in _readable_members(relative, archive, content):
            if not samples or _begins_sample(member, samples[-1]):
                samples.append([])
            samples[-1].append(member)
    except tar_members.BREAKS as error:
        number = sum(member.is_image for sample in samples for member in sample)
        reason = " ".join(str(error).split()) or type(error).__name__
        content.corrupt.append(
            shards.Corrupt(source=_shown(relative), reason=f"it breaks off after {number:,} images ({reason})")
        )
    sources = _Sources(relative)
    far_labels = {sample[0].key for sample in samples if not any(member.is_image for member in sample)}
    for sample in samples:
        _read_sample(sample, archive, sources, far_labels, content)
    return content


def _readable_members(relative: str, archive: Archive, content: _Found) -> Iterator[Member]:
    """Yield the regular members that may be part of a sample; others are counted."""
    for info in tar_members.members(archive):
        if info.isdir():
            continue
        member = _member(info)
        if info.islnk() or info.issym():
            reason = "a hard link in the archive" if info.islnk() else "a symbolic link in the archive"
        elif not info.isreg():
            reason = "a device or pipe in the archive"
        elif info.issparse():
            reason = "a sparse file in the archive"
        elif any(source_tree.is_leftover(part) for part in PurePosixPath(info.name).parts if part != ".."):
            reason = source_tree.HIDDEN
        elif member is None:
            reason = "a member without an ending"
        else:
            yield member
            continue
        content.unused.append(reading_account.Unused("member", f"{relative}/{info.name}", reason))


def _begins_sample(member: Member, sample: list[Member]) -> bool:
    kind = member.field, member.ending
    return member.key != sample[-1].key or any((other.field, other.ending) == kind for other in sample)


class _Sources:
    """The name of each image of an archive; the second of a name gets a number, since names may return."""

    def __init__(self, relative: str) -> None:
        self._relative = relative
        self._taken: set[str] = set()

    def of(self, member: Member) -> str:
        name = f"{self._relative}/{member.name}"
        source = name
        number = 1
        while source in self._taken:
            number += 1
            source = f"{name} ({number})"
        self._taken.add(source)
        return source


def _read_sample(
    sample: list[Member], archive: Archive, sources: _Sources, far_labels: set[str], content: _Found
) -> None:
    """Add the labeled images of a sample to `content`, and its other members with their reasons."""
    labels: dict[str, str] = {}  # field -> label
    without_image: list[Member] = []
    images: dict[str, Member] = {}  # field -> image
    for member in sample:
        if member.is_image:
            if images.setdefault(member.field, member) is not member:
                content.unused.append(reading_account.Unused("member", sources.of(member), ANOTHER_IMAGE))
        elif member.ending in LABEL_ENDINGS:
            without_image.append(member)
            if label := _read_label(member, archive):
                labels.setdefault(member.field, label)
        else:
            reason = f"a member with the ending .{member.ending}"
            content.unused.append(reading_account.Unused("member", sources.of(member), reason))
    if not images:
        for member in without_image:
            content.unused.append(
                reading_account.Unused("member", sources.of(member), "a label without an image beside it")
            )
        return
    main = "" if "" in images else next((field for field in images if field not in labels), "")
    for field, member in images.items():
        source = sources.of(member)
        image_label = labels.get(field) or (labels.get("") if field == main else "")
        if image_label:
            _add_image(source, image_label, member, archive, content)
        elif field == main or (labels and "" not in labels):
            content.corrupt.append(
                shards.Corrupt(source=_shown(source), reason=_no_label(member, without_image, far_labels))
            )
        else:
            content.unused.append(reading_account.Unused("member", source, ANOTHER_IMAGE))


def _add_image(source: str, label: str, member: Member, archive: Archive, content: _Found) -> None:
    if (shown := _shown(source)) != source:
        content.corrupt.append(shards.Corrupt(source=shown, reason="the member's name is not UTF-8"))
        return
    content.images.append(archives.ArchivedImage(source, label, archive.loader(member.offset, member.size)))


def _no_label(image: Member, labels: Iterable[Member], far_labels: set[str]) -> str:
    if large := next((member for member in labels if member.size > LARGEST_LABEL), None):
        return f"{large.name} has {large.size:,} bytes, more than a label may have ({LARGEST_LABEL:,})"
    reason = f"no {image.key}.cls or {image.key}.json with a label beside it"
    if image.key in far_labels:
        reason += "; one is elsewhere in the archive, where it is another sample (sort the members by name)"
    return reason


def _read_label(member: Member, archive: Archive) -> str:
    if member.size > LARGEST_LABEL:
        return ""
    try:
        text = archive.loader(member.offset, member.size)().decode("utf-8", "replace").strip()
    except shards.CorruptImage:
        return ""
    if member.ending == "cls":
        return text
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    values = [fields[key] for key in LABEL_KEYS if key in fields] if isinstance(fields, dict) else []
    return str(values[0]).strip() if values and isinstance(values[0], (str, int)) else ""


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


LAYOUT = register_layout(
    Layout(
        name="webdataset",
        about="WebDataset's tar files",
        looks_for="*.tar with key.jpg and key.cls or key.json",
        recognize=recognize,
        read=read_webdataset,
    )
)
