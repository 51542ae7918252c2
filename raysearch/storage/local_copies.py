"""Copies of remote files on this node, for readers that read at random.

A file is known by the SHA-256 of its content: processes, runs and data sets that name the same content share one copy,
and a copy never goes stale. One process copies it while the others wait; where it dies half-way the next one begins.
Above a cap, the copies that were asked for longest ago make room; those that a process has open now stay.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from raysearch.core import locks
from raysearch.core.errors import UserError
from raysearch.storage.cache import cache_bytes, cache_dir

if TYPE_CHECKING:  # places gives this module's function a second home
    from raysearch.storage.location import Location

COPIES_FOLDER = "shards"
_GRACE = 60.0  # seconds from when a path is handed out to when its file has surely been opened


def local_copy(file: "Location", size: int, sha256: str, cap: int | None = None) -> Path:
    """A path on this machine that holds the file's content; a local file's own path.

    Open it soon: once open, it stays readable even if the copy makes room for another.

    Args:
        file: where it lies.
        size: in bytes.
        sha256: of its content, in hexadecimal.
        cap: bytes of all copies; None: `cache_bytes()`. Files that are in use may exceed it.

    Raises:
        FileNotFoundError: no such file.
        UserError: other content than told, a store that does not answer, a disk that is full.
    """
    own = file.local
    if own is not None:
        return own
    folder = cache_dir() / COPIES_FOLDER
    copy, partial = folder / sha256, folder / f"{sha256}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _touch(copy, size):
            with _owned(partial) as target:
                if not _touch(copy, size):  # who held the file before us may have finished it
                    evict_copies(folder, size, cache_bytes() if cap is None else cap)
                    _fetch(file, target, size, sha256)
                    partial.rename(copy)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(
            f"cannot copy {file} to {folder}: {error.strerror or error}; RAYSEARCH_CACHE names another directory, "
            "RAYSEARCH_CACHE_GB the space for copies"
        ) from error
    return copy


def evict_copies(folder: Path, size: int, cap: int) -> None:
    """Remove copies that nobody uses, those asked for longest ago first, until `size` more bytes fit below the cap."""
    with os.scandir(folder) as entries:
        found = sorted((one.stat().st_mtime, one.stat().st_size, one.path) for one in entries)
    total = sum(bytes_ for _, bytes_, _ in found) + size
    for used, bytes_, path in found:
        if total <= cap:
            return
        if time.time() - used > _GRACE and not _is_open(path):
            with contextlib.suppress(OSError):  # another process makes room as well, or owns the file
                os.unlink(path)
            total -= bytes_


def _touch(copy: Path, size: int) -> bool:
    """Whether a whole copy is there, which is then used now."""
    try:
        os.utime(copy)
        return copy.stat().st_size == size
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _owned(partial: Path) -> Iterator[BinaryIO]:
    """The file that a copy grows in, empty and this process's alone; the lock ends with the process."""
    with locks.lock_file(partial, create=True, wait=True) as target:
        target.truncate(0)
        try:
            yield target
        finally:
            if locks.is_same_file(target, partial):  # not renamed: the copy was there, or could not be made
                partial.unlink()


def _fetch(file: "Location", target: BinaryIO, size: int, sha256: str) -> None:
    content = hashlib.sha256()
    for chunk in file.chunks():
        content.update(chunk)
        target.write(chunk)
    target.flush()
    if target.tell() != size or content.hexdigest() != sha256:
        raise UserError(f"{file} holds other data than its manifest says; ingest the data set again")


def _is_open(path: str) -> bool:
    """Whether any process of this machine has the file open, its mapping included."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return False  # no Linux: those that have it open keep it, only the space is freed later
    try:
        with open(path, "rb") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)  # refused while anybody else has it open
    except BlockingIOError:
        return True
    except OSError:  # somebody else's file, or a file system without leases
        return False
    return False
