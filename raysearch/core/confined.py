"""Files below a directory that others may write to: links do not lead out of it, and it is known whose files they are.

Names come from a manifest, a record or a listing, and the directory from the user. The directory itself may be a link,
because the user named it. A link inside is followed only to a place that is inside too.
"""

import contextlib
import errno
import functools
import grp
import os
import pwd
import stat
from io import BufferedReader
from pathlib import Path

from raysearch.core.errors import UserError

_LINK_ERRORS = (errno.ELOOP, errno.ENOTDIR)  # Linux reports the second for a link in place of a folder


def open_below(root: str | os.PathLike[str], name: str) -> BufferedReader:
    """Open a regular file below a directory for reading.

    Args:
        root: the directory.
        name: the path of the file in it, with forward slashes.

    Raises:
        FileNotFoundError: no such file.
        OSError: the file cannot be opened, or is a pipe, a device or a folder.
        UserError: the name leads out of the directory, or a link does.

    >>> open_below("/tmp", "../etc/passwd")
    Traceback (most recent call last):
    raysearch.core.errors.UserError: '../etc/passwd' is not the name of a file below '/tmp'
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise UserError(f"'{name}' is not the name of a file below '{os.fspath(root)}'")
    try:
        descriptor = _open_without_links(os.fspath(root), parts)
    except OSError as error:
        if error.errno not in _LINK_ERRORS:
            raise
        descriptor = _open_without_links(*_target_inside(os.fspath(root), name))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", os.path.join(root, name))
    return open(descriptor, "rb")


def refuse_link(root: str | os.PathLike[str], name: str) -> Path:
    """Return a path in a directory that is about to be written to, unless a link there leads elsewhere.

    Args:
        root: the directory.
        name: of a file or folder in it.

    Raises:
        UserError: it is a link that leads out of the directory.
    """
    path = Path(root) / name
    if path.is_symlink() and not path.resolve().is_relative_to(Path(root).resolve()):
        raise UserError(f"'{path}' is a link that leads out of '{root}'; remove it: only files of the run are written")
    return path


def is_private(status: os.stat_result) -> bool:
    """Return whether nobody but this user and root can have made or changed a file or a folder.

    The group of the user's name, which many systems give to each user alone, counts as the user.

    Args:
        status: of the file itself, from `os.fstat` or `os.lstat`.
    """
    if not is_own(status) or status.st_mode & stat.S_IWOTH:
        return False
    return not status.st_mode & stat.S_IWGRP or _is_group_of_one(status.st_gid)


def is_own(status: os.stat_result) -> bool:
    """Return whether a file belongs to this user or to root.

    Args:
        status: of the opened file, from `os.fstat`. A name can be given to another file after it was looked at.
    """
    return status.st_uid in (os.geteuid(), 0)


def _open_without_links(root: str, parts: list[str]) -> int:
    """Open root/parts[0]/.../parts[-1]; a link in place of any part is an error. A pipe does not block."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), os.path.join(root, *parts)) from None
    finally:
        os.close(folder)


def _target_inside(root: str, name: str) -> tuple[str, list[str]]:
    """Return the directory and the path in it that links lead to.

    A download of the Hugging Face hub, `snapshots/<revision>/`, links to `blobs/` beside it.
    """
    real_root = os.path.realpath(root)
    target = os.path.realpath(os.path.join(root, name))
    above, is_snapshot, _ = real_root.rpartition("/snapshots/")
    for folder in (real_root, f"{above}/blobs" if is_snapshot else ""):
        inside = f"{folder.rstrip('/')}/"
        if folder and target.startswith(inside):
            return folder, target.removeprefix(inside).split("/")
    raise UserError(f"'{os.path.join(root, name)}' is a link that leads out of '{root}'; copy the file there")


@functools.cache
def _is_group_of_one(gid: int) -> bool:
    """Return whether a group is the user's own: the primary one, of the user's name, without other members."""
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(gid)
        return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
    return False
