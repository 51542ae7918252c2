"""A hidden work directory beside its final place, which the next run takes over after a kill.

Every process that works in a directory holds a lock on a file in it. The system releases the lock when the process
ends, whatever ended it. So a directory whose lock is free was abandoned. One for the same work is taken over, under a
new name, so that no process left over from the killed run can write into it. Others are removed. On a file system
without locks nothing is taken over or removed.
"""

import contextlib
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from raysearch.core import Unreachable, UserError, is_own, locks

LOCK_NAME = "lock"


@contextlib.contextmanager
def resumable_workdir(target: Path, work: str, worth: str) -> Iterator[Path]:
    """Yield a directory beside `target`; it is removed at the end, unless the work was interrupted.

    After an interruption, by Ctrl-C or a full disk, the directory stays for the next run if it has files that match
    `worth`. After a UserError it does not, since the user has to change the work, unless a store could not be reached.

    Args:
        target: the final path, which may exist.
        work: a hash of the work; the directory contains what an earlier run of the same work has finished.
        worth: a pattern of files that are worth keeping, such as "done/*".

    Raises:
        OSError: no directory can be created there.
    """
    new_parents = [parent for parent in target.parents if not parent.exists()]
    path, lock = _take_over(target, work) or _create(target, work)
    keep = False
    try:
        yield path
    except BaseException as error:
        keep = (isinstance(error, Unreachable) or not isinstance(error, UserError)) and any(path.glob(worth))
        raise
    finally:
        if not keep:
            _remove(path)
        if lock:
            lock.close()
        with contextlib.suppress(OSError):  # removes those parents made here that are still empty
            for parent in new_parents:
                parent.rmdir()


def open_temporary_file(folder: Path, name: str) -> BinaryIO:
    """Open a new locked file with a unique name, and remove abandoned files of the same kind.

    The caller removes the file. A later call removes it if the caller's process dies first.

    Args:
        folder: an existing directory.
        name: the beginning of the file's name.

    Raises:
        OSError: the file cannot be created.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, open_temporary_file(Path(folder), "images") as file:
    ...     Path(file.name).name[:7]
    'images.'
    """
    for path in folder.glob(f"{name}.*.partial"):
        with contextlib.suppress(OSError), locks.lock_file(path):
            path.unlink()
    while True:
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            path = folder / f"{name}.{_unique_id()}.partial"
            path.touch(mode=0o600)
            return locks.lock_file(path)


def _directory_name(target: Path, work: str) -> str:
    return f".{target.name}.{work[:12]}.{_unique_id()}.partial"


def _unique_id() -> str:
    return uuid.uuid4().hex[:12]


def _take_over(target: Path, work: str) -> tuple[Path, BinaryIO] | None:
    """Take over an abandoned directory of this work, if there is one, and remove all others beside `target`."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.([0-9a-f]{{12}})\.[0-9a-f]{{12}}\.partial")
    taken = None
    try:
        matches = [(path, pattern.fullmatch(path.name)) for path in target.parent.iterdir()]
    except OSError:  # no such folder yet, or one that cannot be listed
        return None
    for path, match in matches:
        if match is None:
            continue
        with contextlib.suppress(OSError):  # locked by a living process, removed meanwhile, or without locks
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) or not is_own(status):  # its shards would become part of the data set
                continue
            # Its process may have been killed before it made the lock, or after it removed it.
            lock = locks.lock_file(path / LOCK_NAME, create=True)
            if match[1] == work[:12] and not taken:
                taken = path.rename(path.with_name(_directory_name(target, work))), lock
            else:
                _remove(path)
                lock.close()
    return taken


def _remove(path: Path) -> None:
    """Remove a directory, its lock last: nothing else may take it over while files are removed in it."""
    with contextlib.suppress(OSError):
        for entry in path.iterdir():
            if entry.name != LOCK_NAME:
                shutil.rmtree(entry, ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)


def _create(target: Path, work: str) -> tuple[Path, BinaryIO | None]:
    while True:
        path = target.parent / _directory_name(target, work)
        path.mkdir(parents=True)
        try:
            (path / LOCK_NAME).touch()
            return path, locks.lock_file(path / LOCK_NAME)
        except (BlockingIOError, FileNotFoundError):
            continue  # another writer found it before it was locked, and took it for abandoned
        except OSError:
            return path, None
