"""WebDataset: tar files in which members of one key are one image: `key.jpg` with `key.cls` or `key.json`.

The format of github.com/webdataset/webdataset: a key is a member's path up to the first dot of its file name, and the
members of a key follow each other. `.cls` holds the label as text, `.json` an object with `label`, `cls` or `class`.
The names of labels are read from `classnames.txt` or `classes.txt` in SRC, a line a class, where there is one.

Traps. Labels that are numbers are put in numeric order (as text, 10 would stand before 2). Only plain tar files are
read, as the images are fetched by their place in the file, unpacked nowhere. One that broke off is named, and gives the
members before that.
"""

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from raysearch.core.errors import UserError
from raysearch.data.layouts.layout import Layout
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import archives, disk
from raysearch.data.shards import Corrupt, CorruptImage, SliceLoader

NAMES = ("classnames.txt", "classes.txt")
KEYS = ("label", "cls", "class")
LOOKED_AT = 16  # members that tell WebDataset from an archive that somebody left there


def read(src: str, test_fraction: float | None = None) -> Listing:
    """The images of all tar files in SRC and its folders.

    Raises UserError: no tar file, files of which only some say their part.
    """
    with disk.directory(src) as root:
        paths = archives.files(root, ".tar")
        if not paths:
            raise UserError(f"SRC {src} holds no .tar file")
        names = next((disk.lines(root / name) for name in NAMES if (root / name).is_file()), [])
        corrupt: list[Corrupt] = []
        images = [(path, image) for path in paths for image in _images(root, path, corrupt)]
        return archives.listing(root, images, archives.parts(root, paths), names, test_fraction, corrupt)


def recognise(root: Path) -> str:
    """A tar file that begins with an image and a label of one key."""
    for path in archives.files(root, ".tar"):
        kinds: dict[str, set[str]] = {}
        try:
            for member in _members(path, LOOKED_AT):
                key, kind = _key(member.name)
                kinds.setdefault(key, set()).add("image" if f".{kind}" in disk.EXTENSIONS else kind)
        except tarfile.TarError:
            continue
        if any("image" in kind and kind & {"cls", "json"} for kind in kinds.values()):
            return f"images with .cls or .json in {path.relative_to(root)}"
    return ""


def _members(path: Path, number: int | None = None) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(path, "r:") as tar:
        for count, member in enumerate(tar):
            if count == number:
                return
            if member.isfile():
                yield member
    with path.open("rb") as file:  # tarfile takes a header that is cut for the end
        file.seek(-min(path.stat().st_size, tarfile.BLOCKSIZE), os.SEEK_END)
        if file.read() != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("no end marker")


def _key(name: str) -> tuple[str, str]:
    """Key and kind of a member: its path cut at the first dot of the file name.

    >>> _key("a.b/0001.seg.png")
    ('a.b/0001', 'seg.png')
    """
    path = PurePosixPath(name)
    stem, _, kind = path.name.partition(".")
    return str(path.parent / stem), kind.lower()


def _images(root: Path, path: Path, corrupt: list[Corrupt]) -> list[archives.Image]:
    """The images of a tar file that have a label; what has none, or cannot be read, is added to `corrupt`."""
    where = path.relative_to(root).as_posix()
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, str] = {}
    try:
        for member in _members(path):
            key, kind = _key(member.name)
            if f".{kind}" in disk.EXTENSIONS:
                images[key] = member
            elif kind in ("cls", "json"):
                labels.setdefault(key, _label(_slice(path, member)(), kind))
    except (tarfile.TarError, CorruptImage) as error:
        corrupt.append(Corrupt(source=where, reason=f"it breaks off after {len(images):,} images ({error})"))
    found = []
    for key, member in images.items():
        source = f"{where}/{member.name}"
        if label := labels.get(key):
            found.append(archives.Image(source, label, _slice(path, member)))
        else:
            corrupt.append(Corrupt(source=source, reason=f"no {key}.cls or {key}.json with a label beside it"))
    return found


def _slice(path: Path, member: tarfile.TarInfo) -> SliceLoader:
    return SliceLoader(str(path), member.offset_data, member.size, str(path))


def _label(data: bytes, kind: str) -> str:
    text = data.decode("utf-8", "replace").strip()
    if kind == "cls":
        return text
    try:
        fields = json.loads(text)
    except ValueError:
        return ""
    values = [fields[key] for key in KEYS if key in fields] if isinstance(fields, dict) else []
    return str(values[0]).strip() if values and isinstance(values[0], (str, int)) else ""


LAYOUT = Layout(
    about="WebDataset's tar files",
    looks_for="*.tar with key.jpg and key.cls or key.json",
    recognise=recognise,
    read=read,
)
