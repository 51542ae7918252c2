"""A hidden directory beside its final place, where a long piece of work is done, and taken up again after a kill.

Whoever works in a directory holds a lock on a file in it, which the system lets go when the process ends, however that
comes. So a directory whose lock is free was left behind: one of the same work is taken over, under a new name so that
what the killed one started cannot write into it any more, and others are removed. On a file system without locks
nothing is taken over or removed.
"""

import contextlib
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from raysearch.core import locks
from raysearch.core.errors import Unreachable, UserError

LOCK_NAME = "lock"


@contextlib.contextmanager
def resumable_workdir(target: Path, work: str, worth: str) -> Iterator[Path]:
    """A directory for what shall become `target`; what is still in it at the end is removed.

    Args:
        target: which may be there or not.
        work: a hash of what is to be done; what is left of the same work is in the directory already.
        worth: a pattern of files, such as "done/*". When what is done inside breaks off, by Ctrl-C or for a full disk,
            the directory stays for the next time, if it has such files. Not after a UserError: other work is needed,
            unless a store could not be reached.

    Raises:
        OSError: nothing can be made there.
    """
    new_parents = [parent for parent in target.parents if not parent.exists()]
    path, lock = _taken_over(target, work) or _new(target, work)
    kept = False
    try:
        yield path
    except BaseException as error:
        kept = (isinstance(error, Unreachable) or not isinstance(error, UserError)) and any(path.glob(worth))
        raise
    finally:
        if not kept:
            shutil.rmtree(path, ignore_errors=True)
        if lock:
            lock.close()
        with contextlib.suppress(OSError):  # of the parents made here, those that stayed empty go too
            for parent in new_parents:
                parent.rmdir()


def open_temporary_file(folder: Path, name: str) -> BinaryIO:
    """A new file with a name of its own, which stays until it is removed; of those like it, what was left is removed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, open_temporary_file(Path(folder), "images") as one:
    ...     Path(one.name).name[:7]
    'images.'
    """
    for path in folder.glob(f"{name}.*.partial"):
        with contextlib.suppress(OSError), locks.lock_file(path):
            path.unlink()
    while True:
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            path = folder / f"{name}.{_unique()}.partial"
            path.touch(mode=0o600)
            return locks.lock_file(path)


def _name(target: Path, work: str) -> str:
    return f".{target.name}.{work[:12]}.{_unique()}.partial"


def _unique() -> str:
    return uuid.uuid4().hex[:12]


def _taken_over(target: Path, work: str) -> tuple[Path, BinaryIO] | None:
    """A directory that was left of this work; all others that were left beside `target` are removed."""
    name = re.compile(rf"\.{re.escape(target.name)}\.([0-9a-f]{{12}})\.[0-9a-f]{{12}}\.partial")
    mine = None
    try:
        left = [(path, found[1]) for path in target.parent.iterdir() if (found := name.fullmatch(path.name))]
    except OSError:  # no such folder yet, or one that cannot be listed
        return None
    for path, its_work in left:
        with contextlib.suppress(OSError):  # at work, gone meanwhile, or nobody can know
            lock = locks.lock_file(path / LOCK_NAME)
            if its_work == work[:12] and not mine:
                mine = path.rename(path.with_name(_name(target, work))), lock
            else:
                shutil.rmtree(path, ignore_errors=True)
                lock.close()
    return mine


def _new(target: Path, work: str) -> tuple[Path, BinaryIO | None]:
    while True:
        path = target.parent / _name(target, work)
        path.mkdir(parents=True)
        try:
            (path / LOCK_NAME).touch()
            return path, locks.lock_file(path / LOCK_NAME)
        except (BlockingIOError, FileNotFoundError):
            continue  # another writer looked at it before it was locked, and took it for left
        except OSError:
            return path, None
