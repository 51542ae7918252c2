"""The files below a folder of images: which of them are images by their ending, and why the others are not read.

The endings are those that Pillow has registered, without the formats that are not photographs. A plugin adds its own:
with `pillow-heif` installed, `.heic` is read. Links are followed, but not to a folder above them, and not out of the
folder that the user named: a downloaded data set could otherwise collect a machine's other files.
"""

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterator
from functools import cache
from operator import attrgetter
from typing import NamedTuple

from raysearch.data.reading_account import Unused

# Formats that Pillow registers, and why their files are not taken for photographs.
NOT_PHOTOGRAPHS = {
    "EPS": "a drawing, which needs Ghostscript",
    "WMF": "a drawing, which needs Windows",
    "PDF": "a document",
    "BUFR": "weather data",
    "GRIB": "weather data",
    "HDF5": "an array without a range of values",
    "FITS": "an array without a range of values",
    "MPEG": "a video",
    "FLI": "a video",
    "ICO": "an icon in several sizes",
    "ICNS": "an icon in several sizes",
    "CUR": "a mouse pointer",
    "GBR": "a brush",
    "IPTC": "a caption record",
}
ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst")
_ALWAYS_READ = (".jpg", ".jpeg", ".png")  # known without a look at Pillow's 40 plugins, which take 50 ms to load
HEIF = (".heic", ".heif", ".hif")
_FIRST_OF_LEFTOVERS = frozenset(".@_tTdD$")
HIDDEN = "hidden, or left by a file manager"
LEADS_OUT = "a link that leads out of the source"
LEADS_NOWHERE = "a link that leads nowhere"
LEADS_UP = "a link to a folder above it"
NOT_REGULAR = "neither a file nor a folder"
EMPTY = "an empty folder"
DATA_SET = "a data set of shards, which an ingest wrote"
_MANIFEST = "manifest.json"  # of shards


class Entry(NamedTuple):
    """A file below a folder, or a folder that is not entered."""

    path: str  # below the folder, with forward slashes
    reason: str  # why no layout may read it; "" if it may be read
    is_folder: bool = False


@cache
def image_endings() -> frozenset[str]:
    """Return the endings of the image files that are read, in lower case with their dot.

    >>> {".jpg", ".jfif", ".avif", ".jp2", ".webp"} <= image_endings(), ".pdf" in image_endings()
    (True, False)
    """
    return frozenset(ending for ending, kind in _registered().items() if kind not in NOT_PHOTOGRAPHS and _opens(kind))


def is_image_name(name: str) -> bool:
    """Return whether a file's name has the ending of an image.

    >>> [is_image_name(name) for name in ("a.JPG", "22.05.jpg", "a.jpg.txt", ".jpg")]
    [True, True, False, False]
    """
    ending = os.path.splitext(name)[1].lower()
    return ending in _ALWAYS_READ or ending in image_endings()


def is_leftover(name: str) -> bool:
    """Return whether a file or folder is hidden, or was left behind by an archiver or a file manager."""
    if name[:1] not in _FIRST_OF_LEFTOVERS:  # most names; this is asked twice of each of a million files
        return False
    return name.startswith((".", "__MACOSX", "@")) or name.lower() in ("thumbs.db", "desktop.ini", "$recycle.bin")


def is_data_set(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder is the OUT of an ingest: its manifest is that of shards."""
    try:
        with open(os.path.join(folder, _MANIFEST), "rb") as file:
            fields = json.load(file)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and {"content_hash", "shards", "classes"} <= fields.keys()


def ending_reason(name: str) -> str:
    """Return why a file whose name is not that of an image is not read.

    >>> [ending_reason(name) for name in ("notes.txt", "README", "a.pdf", "a.zip")]
    ['the ending .txt is not read', 'a name without an ending', 'not a photograph: .pdf is a document', \
'an archive, which has to be unpacked']
    """
    ending = os.path.splitext(name)[1].lower()
    if not ending:
        return "a name without an ending"
    if ending in HEIF:
        return f"Pillow reads {ending} with a plugin: pip install pillow-heif"
    if ending in ARCHIVES:
        return "an archive, which has to be unpacked"
    kind = NOT_PHOTOGRAPHS.get(_registered().get(ending, ""))
    return f"not a photograph: {ending} is {kind}" if kind else f"the ending {ending} is not read"


def walk(root: str | os.PathLike[str], follow_links: bool = False) -> Iterator[Entry]:
    """Yield every file below a folder, each folder's by name. Links to folders are entered.

    Args:
        root: the folder.
        follow_links: also follow links that lead out of the folder.

    Raises:
        OSError: the folder itself cannot be read.
    """
    real_root = os.path.realpath(root)
    status = os.stat(real_root)
    yield from _walk(real_root, real_root, "", "", ((status.st_dev, status.st_ino),), follow_links)


def unread(
    entries: Iterator[Entry],
    used: Collection[str],
    noted: Callable[[str], str],
    rest: str,
) -> Iterator[Unused]:
    """Yield the entries of a walk that were not read, with their reasons.

    Args:
        entries: of `walk`.
        used: the paths that were read, or used as lists, annotations or archives.
        noted: a path -> the reason that the layout gave for it or for a folder above it, or "".
        rest: the reason for an image that the layout did not read for no other reason.
    """
    for entry in entries:
        if entry.path in used:
            continue
        reason = entry.reason or noted(entry.path)
        if not reason:
            reason = rest if is_image_name(entry.path) else ending_reason(entry.path)
        yield Unused("folder" if entry.is_folder else "file", entry.path, reason)


@cache
def register_plugins() -> None:
    """Let Pillow read HEIF files if `pillow-heif` is installed; every process that opens images needs this.

    Pillow asks its plugins in the order in which they were registered. The common formats come first, since some other
    plugins begin to read a file before they know it, which takes a third of the time of a small JPEG.
    """
    from PIL import Image

    Image.preinit()
    with contextlib.suppress(ImportError):
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]

        pillow_heif.register_heif_opener()


_name = attrgetter("name")


@cache
def _registered() -> dict[str, str]:
    """Return ending -> format of everything that Pillow and its plugins know."""
    from PIL import Image

    register_plugins()
    return Image.registered_extensions()


def _opens(kind: str) -> bool:
    from PIL import Image

    return kind in Image.OPEN or kind == "MPO"  # which the JPEG plugin opens


def _walk(
    root: str, folder: str, prefix: str, reason: str, above: tuple[tuple[int, int], ...], follow_links: bool
) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=_name)
    except OSError as error:
        if not prefix:
            raise
        yield Entry(prefix[:-1], f"a folder that cannot be read ({error.strerror})", is_folder=True)
        return
    if prefix and is_data_set(folder):
        yield Entry(prefix[:-1], reason or DATA_SET, is_folder=True)
        return
    if not entries and prefix:
        yield Entry(prefix[:-1], reason or EMPTY, is_folder=True)
    for entry in entries:
        path = prefix + entry.name
        here = reason or (HIDDEN if is_leftover(entry.name) else "")
        if entry.is_symlink():
            here = here or _link_reason(root, entry.path, follow_links)
            if here:
                yield Entry(path, here, is_folder=entry.is_dir())
                continue
        if entry.is_dir():
            status = entry.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                yield Entry(path, LEADS_UP, is_folder=True)
            else:
                yield from _walk(root, entry.path, f"{path}/", here, (*above, identity), follow_links)
        else:
            yield Entry(path, here or ("" if entry.is_file() else NOT_REGULAR))


def _link_reason(root: str, path: str, follow_links: bool) -> str:
    target = os.path.realpath(path)
    if not os.path.exists(target):
        return LEADS_NOWHERE
    if follow_links or target == root:
        return ""
    inside = any(target.startswith(folder.rstrip("/") + "/") for folder in (root, _hub_blobs(root)) if folder)
    return "" if inside else LEADS_OUT


def _hub_blobs(root: str) -> str:
    """Return the folder of the files that a download of the Hugging Face hub, `snapshots/<revision>/`, links to."""
    above, found, _ = root.rpartition("/snapshots/")
    return f"{above}/blobs" if found else ""
