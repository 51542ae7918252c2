"""The cache directory of this machine, and the copies of remote files in it, for random reads.

A copy is named by the SHA-256 of its content. So all processes, runs and data sets with the same content share one
copy, and it never goes stale. One process fetches it while the others wait; if it dies, the next one starts again.
Above a cap, the copies that were requested longest ago are removed, except those that a process has open.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from raysearch.core import UserError, locks
from raysearch.storage.location import Location

DEFAULT_CACHE_GB = 200.0  # several data sets of the size of ImageNet at 224 px; set less on a laptop
COPIES_FOLDER = "shards"
_GRACE_SECONDS = 60.0  # a caller has surely opened its file this long after it got the path


def cache_dir() -> Path:
    """Return RAYSEARCH_CACHE if it is set, else the folder `raysearch` in the user's cache directory."""
    named = os.environ.get("RAYSEARCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "raysearch"


def cache_bytes() -> int:
    """Return how many bytes the copies of remote files may take here: RAYSEARCH_CACHE_GB, else 200 GB.

    Raises:
        UserError: RAYSEARCH_CACHE_GB is not a size.
    """
    text = os.environ.get("RAYSEARCH_CACHE_GB")
    try:
        gigabytes = float(text) if text else DEFAULT_CACHE_GB
        return int(gigabytes * 1e9)
    except (ValueError, OverflowError):
        raise UserError(f"RAYSEARCH_CACHE_GB is a size in GB, such as 200, not {text!r}") from None


def local_copy(file: Location, size: int, sha256: str, cap: int | None = None) -> Path:
    """Return a path on this machine with the file's content. A local file is its own copy.

    Open the path soon. An open file stays readable even if the copy is removed.

    Args:
        file: the file to copy.
        size: bytes.
        sha256: the SHA-256 of its content, in hexadecimal.
        cap: bytes of all copies together; None for `cache_bytes()`. Files in use may exceed it.

    Raises:
        FileNotFoundError: no such file.
        UserError: the content differs from `sha256`, the store does not answer, or the disk is full.
    """
    local_path = file.local
    if local_path is not None:
        return local_path
    folder = cache_dir() / COPIES_FOLDER
    copy = folder / sha256
    partial = folder / f"{sha256}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _mark_used(copy, size):
            with _locked_partial(partial) as target:
                if not _mark_used(copy, size):  # the previous holder of the lock may have finished it
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
    """Remove unused copies, those requested longest ago first, until `size` more bytes fit below the cap."""
    with os.scandir(folder) as entries:
        copies = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in entries)
    total = sum(copy_size for _, copy_size, _ in copies) + size
    for last_used, copy_size, path in copies:
        if total <= cap:
            return
        if time.time() - last_used > _GRACE_SECONDS and not _is_open(path):
            with contextlib.suppress(OSError):  # another process removes it too, or owns the file
                os.unlink(path)
            total -= copy_size


def _mark_used(copy: Path, size: int) -> bool:
    """Set the time of last use; return whether the copy is there and complete."""
    try:
        os.utime(copy)
        return copy.stat().st_size == size
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _locked_partial(partial: Path) -> Iterator[BinaryIO]:
    """Open the file that a copy grows in, empty and locked until the block or the process ends."""
    with locks.lock_file(partial, create=True, wait=True) as target:
        target.truncate(0)
        try:
            yield target
        finally:
            if locks.is_same_file(target, partial):  # not renamed: the copy was there already, or failed
                partial.unlink()


def _fetch(file: Location, target: BinaryIO, size: int, sha256: str) -> None:
    content = hashlib.sha256()
    for chunk in file.chunks():
        content.update(chunk)
        target.write(chunk)
    target.flush()
    if target.tell() != size or content.hexdigest() != sha256:
        raise UserError(f"{file} holds other data than its manifest says; ingest the data set again")


def _is_open(path: str) -> bool:
    """Return whether any process of this machine has the file open or mapped."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return False  # not Linux: open files stay readable after removal, only their space is freed later
    try:
        with open(path, "rb") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)  # refused while another process has it open
    except BlockingIOError:
        return True
    except OSError:  # another user's file, or a file system without leases
        return False
    return False
