"""Where the bytes of an image come from: loaders that travel between processes and say what they stand on.

A loader is called for the bytes of an image file. Its `stamp` is a text that changes when the bytes may have changed,
by the size and time of a file or by what an image is drawn from; it costs a look, not a read. What a killed ingest had
finished is gone on with where all stamps agree. Any function can be a loader; one without a stamp is never gone on
with.
"""

import os
import platform
from functools import lru_cache
from typing import BinaryIO, NamedTuple, Protocol

from raysearch.core.errors import UserError
from raysearch.data.shards import jpeg
from raysearch.data.shards.jpeg import Box, CorruptImage

MAX_OPEN_ARCHIVES = 64  # archives that a process holds open at a time


class Loader(Protocol):
    """Reads the bytes of an image file, or raises CorruptImage or OSError."""

    def __call__(self) -> bytes: ...


def loader_stamp(load: Loader) -> str | None:
    """What a loader stands on; None where it cannot say.

    >>> loader_stamp(MissingImage("no box")), loader_stamp(lambda: b"")
    ('no box', None)
    """
    said = getattr(load, "stamp", None)
    return said() if said else None


class FileLoader(NamedTuple):
    """A file of its own, at `source` below `root`."""

    root: str
    source: str

    def __call__(self) -> bytes:
        try:
            with open(f"{self.root}/{self.source}", "rb", buffering=0) as file:
                return file.read()
        except FileNotFoundError:
            _check_visible(self.root)
            raise CorruptImage("there is no such file") from None

    def stamp(self) -> str:
        return _stamp(f"{self.root}/{self.source}")


class SliceLoader(NamedTuple):
    """Bytes of a larger file.

    Args:
        path: of that file, which a process opens once.
        offset: where the image begins.
        size: of the image, in bytes.
        origin: the file that the larger one is made from again whenever it is wanted; itself, for an archive.
    """

    path: str
    offset: int
    size: int
    origin: str

    def __call__(self) -> bytes:
        try:
            file = _opened(self.path, _stamp(self.path))
        except FileNotFoundError:
            _check_visible(self.path)
            raise
        data = os.pread(file.fileno(), self.size, self.offset)
        if len(data) < self.size:
            raise CorruptImage("the archive breaks off in it")
        return data

    def stamp(self) -> str:
        return f"{_stamp(self.origin)} {self.offset} {self.size}"


class ReshapingLoader(NamedTuple):
    """Another loader's image, cropped and resized: see `jpeg.reshaped`."""

    load: Loader
    box: Box | None
    side: int | None

    def __call__(self) -> bytes:
        return jpeg.crop_and_resize(self.load(), self.box, self.side)

    def stamp(self) -> str | None:
        before = loader_stamp(self.load)
        return None if before is None else f"{before} {self.box} {self.side}"


class MissingImage(NamedTuple):
    """An image that cannot be had."""

    reason: str

    def __call__(self) -> bytes:
        raise CorruptImage(self.reason)

    def stamp(self) -> str:
        return self.reason


@lru_cache(MAX_OPEN_ARCHIVES)
def _opened(path: str, stamp: str) -> BinaryIO:
    return open(path, "rb", buffering=0)


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return "none"
    return f"{found.st_size} {found.st_mtime_ns}"


def _check_visible(path: str) -> None:
    """Images that a machine does not see are no corrupt images."""
    if not os.path.exists(path):
        raise UserError(f"{path} is not there on {platform.node()}; every node has to see SRC")
