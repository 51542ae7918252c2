"""Samples: images that are not read yet, their loaders, and their canonical order.

A loader is called for the bytes of an image file, and it travels between processes. Its `stamp` is a text that changes
when the bytes may have changed: the size and time of a file, or the settings that an image is drawn from. A stamp costs
a look at the file, not a read. An interrupted ingest reuses a finished shard only if every loader's stamp still
matches. Any function can be a loader; without a stamp, its shards are written again.
"""

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import BinaryIO, NamedTuple, Protocol

from raysearch.core import UserError, nearest
from raysearch.data.shards import jpeg
from raysearch.data.shards.image_opening import CorruptImage, check_side
from raysearch.data.shards.jpeg import Box
from raysearch.data.shards.manifest import SPLITS

MAX_OPEN_ARCHIVES = 64  # per process
LARGEST_FILE = (1 << 31) - 1  # bytes; a value in a Parquet file cannot be larger


class Loader(Protocol):
    """Reads the bytes of an image file, or raises CorruptImage or OSError."""

    def __call__(self) -> bytes: ...


class FileLoader(NamedTuple):
    """Loads a whole file, at `source` below `root`."""

    root: str
    source: str

    def __call__(self) -> bytes:
        try:
            with open(f"{self.root}/{self.source}", "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size > LARGEST_FILE:
                    raise CorruptImage(f"{size:,} bytes, more than an image file may have ({LARGEST_FILE:,})")
                return file.read()
        except FileNotFoundError:
            _check_visible(self.root)
            raise CorruptImage("there is no such file") from None

    def stamp(self) -> str:
        """Return the size and time of the file."""
        return _file_stamp(f"{self.root}/{self.source}")

    def file(self) -> str:
        """Return the path of the file."""
        return f"{self.root}/{self.source}"


class SliceLoader(NamedTuple):
    """Loads some bytes of a larger file.

    Args:
        path: the path of the larger file, which a process opens once.
        offset: first byte of the image.
        size: bytes of the image.
        origin: the file that the larger one was copied from; the same as `path` for an archive.
    """

    path: str
    offset: int
    size: int
    origin: str

    def __call__(self) -> bytes:
        try:
            file = _open_archive(self.path, _file_stamp(self.path))
        except FileNotFoundError:
            _check_visible(self.path)
            raise
        # A damaged header may claim any size, and reading reserves memory for it.
        if self.offset + self.size > os.fstat(file.fileno()).st_size:
            raise CorruptImage("the archive breaks off in it")
        data = os.pread(file.fileno(), self.size, self.offset)
        if len(data) < self.size:
            raise CorruptImage("the archive breaks off in it")
        return data

    def stamp(self) -> str:
        """Return the size and time of the origin, and the place in it."""
        return f"{_file_stamp(self.origin)} {self.offset} {self.size}"

    def file(self) -> str:
        """Return the path of the origin."""
        return self.origin


class ReshapingLoader(NamedTuple):
    """Crops and resizes another loader's image; see `jpeg.crop_and_resize`."""

    load: Loader
    box: Box | None
    side: int | None
    name: str | None = None  # of the image, in warnings

    def __call__(self) -> bytes:
        return jpeg.crop_and_resize(self.load(), self.box, self.side, self.name)

    def stamp(self) -> str | None:
        """Return the other loader's stamp with the box and side, or None if it has none."""
        inner = loader_stamp(self.load)
        return None if inner is None else f"{inner} {self.box} {self.side}"

    def file(self) -> str | None:
        """Return the other loader's file, or None if it has none."""
        return loader_file(self.load)


class MissingImage(NamedTuple):
    """Stands for an image that cannot be loaded, and raises the reason."""

    reason: str

    def __call__(self) -> bytes:
        raise CorruptImage(self.reason)

    def stamp(self) -> str:
        """Return the reason."""
        return self.reason


class Sample(NamedTuple):
    """An image that is not read yet; `load()` returns the bytes of an image file in any format that Pillow reads."""

    source: str
    label: str
    split: str
    load: Loader


def loader_stamp(load: Loader) -> str | None:
    """Return a loader's stamp, or None if it has none.

    >>> loader_stamp(MissingImage("no box")), loader_stamp(lambda: b"")
    ('no box', None)
    """
    stamp = getattr(load, "stamp", None)
    return stamp() if stamp else None


def loader_file(load: Loader) -> str | None:
    """Return the path of the file that a loader reads from, or None if it has none or does not know it.

    >>> loader_file(FileLoader("photos", "wren/1.jpg")), loader_file(lambda: b"")
    ('photos/wren/1.jpg', None)
    """
    file = getattr(load, "file", None)
    return file() if file else None


def canonical_order(samples: Iterable[Sample], classes: Sequence[str] | None) -> tuple[list[Sample], dict[str, int]]:
    """Sort samples by (label, source) and number the classes.

    Args:
        samples: in any order.
        classes: class names in label order; None for the sorted names of the samples' classes.

    Returns:
        The sorted samples, and class name -> label.

    Raises:
        UserError: a class given twice, a sample listed twice or with an unknown class or split, or a name that is not
            UTF-8.
    """
    unsorted = list(samples)
    names = tuple(classes if classes is not None else sorted({sample.label for sample in unsorted}))
    labels = {name: label for label, name in enumerate(names)}
    if len(labels) != len(names):
        raise UserError("a class name is given twice")
    seen: set[str] = set()
    for sample in unsorted:
        if sample.label not in labels:
            raise UserError(f"{sample.source}: unknown class {sample.label!r}{nearest(sample.label, names)}")
        if sample.split not in SPLITS:
            raise UserError(f"{sample.source}: unknown split {sample.split!r}{nearest(sample.split, SPLITS)}")
        if sample.source in seen:
            raise UserError(f"{sample.source} is listed twice")
        try:
            sample.source.encode()
        except UnicodeEncodeError:
            raise UserError(f"the file name {sample.source!a} is not UTF-8; rename it") from None
        seen.add(sample.source)
    return sorted(unsorted, key=lambda sample: (labels[sample.label], sample.source)), labels


def reshape_samples(samples: Iterable[Sample], boxes: Mapping[str, Box] | None, side: int | None) -> list[Sample]:
    """Return the samples with loaders that crop and resize. With boxes, an image without a box is corrupt.

    Args:
        samples: in any order.
        boxes: source -> box to crop to; None for the whole images.
        side: pixels to resize to; None for the box's own size.

    Raises:
        UserError: the side is not from 1 to MAX_SIDE.
    """
    if side is not None:
        check_side(side, "--side")

    def _reshaping_loader(sample: Sample) -> Loader:
        if boxes is not None and sample.source not in boxes:
            return MissingImage("the data set has no bounding box for it")
        return ReshapingLoader(sample.load, None if boxes is None else boxes[sample.source], side, sample.source)

    return [sample._replace(load=_reshaping_loader(sample)) for sample in samples]


@lru_cache(MAX_OPEN_ARCHIVES)
def _open_archive(path: str, stamp: str) -> BinaryIO:
    """Open a file once per content; `stamp` is part of the cache's key."""
    return open(path, "rb", buffering=0)


def _file_stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return "none"
    return f"{status.st_size} {status.st_mtime_ns}"


def _check_visible(path: str) -> None:
    """Raise a UserError if this machine does not see the path; its images are not corrupt then."""
    if not os.path.exists(path):
        raise UserError(f"{path} is not there on {platform.node()}; every node must see SRC")
