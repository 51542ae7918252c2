"""Reads directories as data sets need it: image files, class folders, text lists; one error for what is unreadable."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from raysearch.core.errors import UserError
from raysearch.data.shards import FileLoader, Sample

EXTENSIONS = {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


@contextlib.contextmanager
def directory(src: str | os.PathLike[str]) -> Iterator[Path]:
    """SRC as a directory that is read inside; UserError where there is none, or where it cannot be read."""
    root = Path(os.path.abspath(src))  # other processes read the images from elsewhere
    if not root.is_dir():
        if not root.exists():
            raise UserError(f"SRC {src} does not exist")
        raise UserError(f"SRC {src} is not a directory: an archive has to be unpacked first")
    try:
        yield root
    except OSError as error:
        raise UserError(f"SRC {src} cannot be read: {error.filename or src}: {error.strerror or error}") from error


def sample(root: Path, source: str, label: str, split: str) -> Sample:
    """The image at `source` below `root`."""
    return Sample(source, label, split, FileLoader(str(root), source))


def visible(directory: Path) -> list[Path]:
    """What a person put there, sorted; not what archivers and file managers left."""
    return sorted(entry for entry in directory.iterdir() if not _left(entry.name))


def folders(directory: Path) -> list[str]:
    """Names of the folders in a directory, sorted."""
    return sorted(entry.name for entry in _entries(directory) if entry.is_dir())


def images(directory: Path) -> list[str]:
    """Names of the image files in a directory, sorted."""
    return sorted(entry.name for entry in _entries(directory) if _suffix(entry.name) in EXTENSIONS and entry.is_file())


def images_below(root: Path, folder: str) -> Iterator[str]:
    """Paths below `root`, with forward slashes, of the image files in a folder and in its sub-folders."""
    for name in folders(root / folder):
        yield from images_below(root, f"{folder}/{name}")
    yield from (f"{folder}/{name}" for name in images(root / folder))


def class_folders(root: Path, prefix: str) -> dict[str, list[str]]:
    """Class name -> sources of its images, of the class folders in `prefix` below `root`."""
    classes = {}
    for name in folders(root / prefix):
        directory = root / prefix / name
        if deeper := folders(directory):
            raise UserError(
                f"class folder {directory} holds the folder {deeper[0]}; "
                f"images lie directly in {directory.parent}/<class>/"
            )
        classes[name] = [f"{prefix}{name}/{image}" for image in images(directory)]
    return classes


def lines(path: Path) -> list[str]:
    """The lines of a text list that hold something, without the space around them.

    Raises UserError: no such file, or no text in UTF-8.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 ({error})") from error
    return [line.strip() for line in text.split("\n") if line.strip()]


def pairs(path: Path) -> dict[str, str]:
    """First word -> the rest, of each line of a list; names with spaces stay whole.

    Raises UserError: a line of one word (where a file broke off), a first word that comes twice, and all of `lines`.
    """
    found: dict[str, str] = {}
    for line in lines(path):
        key, _, rest = line.partition(" ")
        if not rest.strip():
            raise UserError(f"{path}: nothing follows {key!r}; is the file whole?")
        if found.setdefault(key, rest.strip()) != rest.strip():
            raise UserError(f"{path}: {key!r} is {found[key]!r} and {rest.strip()!r}")
    return found


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """As `visible`, in any order; they know what they are without a look at each of a million images."""
    with os.scandir(directory) as entries:
        return [entry for entry in entries if not _left(entry.name)]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _left(name: str) -> bool:
    return name.startswith((".", "__MACOSX", "@"))
