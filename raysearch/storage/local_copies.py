"""Copies of remote files in the cache directory of this machine, for random reads.

A copy is named by the SHA-256 of its content. So all processes, runs and data sets with the same content share one
copy, and it never goes stale. One process fetches it while the others wait; if it dies, the next one starts again.
Above a cap, the copies that were requested longest ago are removed, except those that a process has open.

A cache may be shared by a group. A copy that others made, or may change, is used only if its content has the hash of
its name; each process looks once. Where another user's file is in the way, or the folder cannot be written, the copy
goes into the user's default cache. No link is followed to a copy.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from raysearch.core import UserError, is_private, locks, open_below
from raysearch.storage.cache import cache_bytes, cache_dir, default_cache_dir, is_safe_folder
from raysearch.storage.location import Location

COPIES_FOLDER = "shards"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COPY_NAME = re.compile(r"[0-9a-f]{64}(\.partial)?")  # nothing else is removed
# Errors of a place that another user has taken, or closed to this one.
_IN_THE_WAY = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ELOOP,
    errno.EINVAL,
    errno.EISDIR,
)
_GRACE_SECONDS = 60.0  # a caller has surely opened its file this long after it got the path


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
    if not _SHA256.fullmatch(sha256):
        raise UserError(f"{file}: '{sha256[:80]}' is not a SHA-256; ingest the data set again")
    shared = cache_dir() / COPIES_FOLDER
    try:
        folders = dict.fromkeys([shared, default_cache_dir() / COPIES_FOLDER])
    except UserError:  # without a home there is only the named cache
        folders = dict.fromkeys([shared])
    for folder in folders:
        if _is_usable(folder / sha256, size, sha256):
            return folder / sha256
    reason: OSError | None = None
    for folder in folders:
        try:
            return _make_copy(folder, file, size, sha256, cache_bytes() if cap is None else cap)
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = reason or error
            if error.errno not in _IN_THE_WAY:
                break
    assert reason is not None
    raise UserError(
        f"cannot copy {file} to {shared}: {reason.strerror or reason}; RAYSEARCH_CACHE names another directory, "
        "RAYSEARCH_CACHE_GB the space for copies"
    ) from reason


def _make_copy(folder: Path, file: Location, size: int, sha256: str, cap: int) -> Path:
    """Fetch a copy into a folder, unless another process does so meanwhile.

    Raises:
        FileNotFoundError: no such file to copy.
        OSError: the copy cannot be written, or a file or link of another user is in its place.
        UserError: as `local_copy`.
    """
    copy = folder / sha256
    if not is_safe_folder(folder):
        raise PermissionError(errno.EPERM, "a link of another user is in its place", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    with _locked_partial(folder / f"{sha256}.partial") as target:
        if not _is_usable(copy, size, sha256):  # the previous holder of the lock may have finished it
            if os.path.lexists(copy) and not is_private(os.lstat(copy)):
                raise PermissionError(errno.EPERM, "a file of another user, with other content, is in its place")
            evict_copies(folder, size, cap)
            _fetch(file, target, size, sha256)
            (folder / f"{sha256}.partial").rename(copy)
    return copy


def evict_copies(folder: Path, size: int, cap: int) -> None:
    """Remove unused copies, those requested longest ago first, until `size` more bytes fit below the cap."""
    with os.scandir(folder) as entries:
        statuses = [
            (entry.stat(follow_symlinks=False), entry.path) for entry in entries if _COPY_NAME.fullmatch(entry.name)
        ]
    copies = sorted(
        (status.st_mtime, status.st_size, path) for status, path in statuses if stat.S_ISREG(status.st_mode)
    )
    total = sum(copy_size for _, copy_size, _ in copies) + size
    for last_used, copy_size, path in copies:
        if total <= cap:
            return
        if time.time() - last_used > _GRACE_SECONDS and not _is_open(path):
            with contextlib.suppress(OSError):  # another process removes it too, or owns the file
                os.unlink(path)
            total -= copy_size


def _is_usable(copy: Path, size: int, sha256: str) -> bool:
    """Return whether the copy is there and complete, and set the time of its last use."""
    try:
        status = os.lstat(copy)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size or not is_safe_folder(copy.parent):
            return False
        if not is_private(status) and not _has_content(copy, (status.st_dev, status.st_ino, size), sha256):
            return False
        with contextlib.suppress(PermissionError):  # another user's file, or a file system that is only read
            os.utime(copy, follow_symlinks=False)
        return True
    except OSError:
        return False


@functools.cache
def _has_content(copy: Path, identity: tuple[int, int, int], sha256: str) -> bool:
    """Return whether a file that others can have written has the content of its name; read once by each process.

    Raises:
        OSError: the file cannot be read.
    """
    with open_below(copy.parent, copy.name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


@contextlib.contextmanager
def _locked_partial(partial: Path) -> Iterator[BinaryIO]:
    """Open the file that a copy grows in, empty and locked until the block or the process ends."""
    if os.path.lexists(partial) and not is_private(os.lstat(partial)):  # its owner could hold the lock for ever
        raise PermissionError(errno.EPERM, "a file of another user is in its place", str(partial))
    with locks.lock_file(partial, create=True, wait=True) as target:
        status = os.fstat(target.fileno())
        if not is_private(status) or not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            # A hard link would be emptied under its other name too.
            raise PermissionError(errno.EPERM, "a file of another user is in its place", str(partial))
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
