"""Locks on files, held until the file is closed or the process ends.

The kernel releases such a lock when its holder dies, whatever killed it, so no lock has to time out. `filelock` does
not fit here: where a file system has no locks it leaves a marker file, which a killed process never removes, and it
does not notice that a locked file was renamed or removed.
"""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO


def lock_file(path: Path, *, create: bool = False, wait: bool = False) -> BinaryIO:
    """Open a file for reading and writing, and lock it. Closing the file releases the lock.

    The previous holder may rename or remove the file between our open and our lock. Such a lock is worthless, since
    the next process would lock another file under the same path.

    Args:
        path: the file; its directory must exist.
        create: whether to create the file if it is absent, and again if its previous holder removed it.
        wait: whether to wait for the holder.

    Raises:
        BlockingIOError: another process, or another open file of this one, holds the lock, and `wait` is false.
        FileNotFoundError: no such directory; without `create` also no such file.
        OSError: the file cannot be opened, or its file system has no locks.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, lock_file(Path(folder) / "lock", create=True):
    ...     lock_file(Path(folder) / "lock")
    Traceback (most recent call last):
    BlockingIOError: [Errno 11] Resource temporarily unavailable
    """
    while True:
        file = open(path, "r+b", opener=_create_and_open if create else _open)  # noqa: SIM115  # the caller closes it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if is_same_file(file, path):
                return file
            if not create:
                raise FileNotFoundError(path)
        except BaseException:
            file.close()
            raise
        file.close()


def _create_and_open(path: str, flags: int) -> int:
    return _open(path, flags | os.O_CREAT)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)  # others may plant a link in a shared folder


def is_same_file(file: BinaryIO, path: Path) -> bool:
    """Return whether a path still names an open file, which may have been renamed or removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
