"""Read directories of data sets: image files, class folders, text lists. Unreadable ones raise one kind of error."""

import contextlib
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from raysearch.core import UserError
from raysearch.data.shards import FileLoader, Sample
from raysearch.data.source_tree import is_data_set, is_image_name, is_leftover

LONGEST_SHOWN = 300  # characters of a path in a message


@contextlib.contextmanager
def directory(src: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield SRC as a directory to read in the block.

    Raises:
        UserError: SRC is not a directory, or it cannot be read.
    """
    root = Path(os.path.abspath(src))  # other processes, with other working directories, read the images
    if not root.is_dir():
        if not root.exists():
            raise UserError(f"SRC {src} does not exist")
        raise UserError(f"SRC {src} is not a directory: an archive has to be unpacked first")
    try:
        yield root
    except OSError as error:
        name = str(error.filename or src)
        shown = name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}..."  # a list may hold any text
        reason = error.strerror or str(error)[:LONGEST_SHOWN]
        raise UserError(f"SRC {src} cannot be read: {shown}: {reason}") from error


def file_sample(root: Path, source: str, label: str, split: str) -> Sample:
    """Return the image at `source` below `root` as a sample."""
    return Sample(source, label, split, FileLoader(str(root), source))


def source_path(root: Path, text: str, where: str) -> str:
    """Return the path of a listed image below `root`, in the one spelling that the disk has.

    `./a.jpg`, `b/../a.jpg` and `b\\..\\a.jpg` are `a.jpg`. A name in another Unicode form than on disk is that file.

    Args:
        root: SRC.
        text: the path as the list has it.
        where: the list and line, for errors.

    Raises:
        UserError: the path is absolute or leads out of SRC.
    """
    path = text
    if "\\" in text and not os.path.lexists(root / text):
        path = text.replace("\\", "/")
    if path.startswith("/") or re.match(r"[A-Za-z]:/", path):
        raise UserError(f"{where}: {text} is absolute; paths are relative to SRC")
    path = posixpath.normpath(path)
    if path.split("/")[0] == "..":
        raise UserError(f"{where}: {text} leads out of SRC; list only images below SRC")
    if not path.isascii() and not os.path.lexists(root / path):
        forms = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
        path = next((form for form in forms if os.path.lexists(root / form)), path)
    return path


def visible(directory: Path) -> list[Path]:
    """Return the entries of a directory, sorted, without files that archivers and file managers leave behind."""
    return sorted(entry for entry in directory.iterdir() if not is_leftover(entry.name))


def folders(directory: Path) -> list[str]:
    """Return the names of the folders in a directory, sorted, without data sets that an ingest wrote there."""
    return _folder_names(_entries(directory))


def images(directory: Path) -> list[str]:
    """Return the names of the image files in a directory, sorted."""
    return _image_names(_entries(directory))


def images_below(root: Path, folder: str) -> Iterator[str]:
    """Yield the image files in a folder and its sub-folders, as paths below `root` with forward slashes."""
    for name in folders(root / folder):
        yield from images_below(root, f"{folder}/{name}")
    yield from (f"{folder}/{name}" for name in images(root / folder))


def class_folders(root: Path, prefix: str) -> dict[str, list[str]]:
    """Return class -> sources of its images, from the class folders in `prefix` below `root`.

    Raises:
        UserError: a class folder contains folders.
    """
    classes = {}
    for name in folders(root / prefix):
        directory = root / prefix / name
        entries = _entries(directory)
        if subfolders := _folder_names(entries):
            raise UserError(
                f"class folder {directory} holds the folder {subfolders[0]}; "
                f"put images directly into {directory.parent}/<class>/"
            )
        classes[name] = [f"{prefix}{name}/{image}" for image in _image_names(entries)]
    return classes


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text list that are not blank, stripped.

    Raises:
        UserError: no such file, or it is not text in UTF-8.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 ({error})") from error
    return [line.strip() for line in text.split("\n") if line.strip()]


def read_pairs(path: Path) -> dict[str, str]:
    """Return first word -> rest, for each line of a list; the rest may contain spaces.

    Raises:
        UserError: a line of one word, as in a truncated file, a first word that is there twice, or as `read_lines`.
    """
    pairs: dict[str, str] = {}
    for line in read_lines(path):
        key, _, rest = line.partition(" ")
        if not rest.strip():
            raise UserError(f"{path}: nothing follows {key!r}; is the file whole?")
        if pairs.setdefault(key, rest.strip()) != rest.strip():
            raise UserError(f"{path}: {key!r} is {pairs[key]!r} and {rest.strip()!r}")
    return pairs


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """Return the entries like `visible`, unsorted; they know their type without a call per each of a million images."""
    with os.scandir(directory) as entries:
        return [entry for entry in entries if not is_leftover(entry.name)]


def _folder_names(entries: list[os.DirEntry[str]]) -> list[str]:
    return sorted(entry.name for entry in entries if entry.is_dir() and not is_data_set(entry.path))


def _image_names(entries: list[os.DirEntry[str]]) -> list[str]:
    return sorted(entry.name for entry in entries if is_image_name(entry.name) and entry.is_file())
