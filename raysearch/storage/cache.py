"""The cache directory of this machine, and which of its places can be trusted.

RAYSEARCH_CACHE may be a folder that a group shares. What is named by the hash of its content may come from anybody
there, because the hash is checked. Everything else is read and written only where no other user can have put it. Where
the shared folder offers no such place, the user's default cache does.
"""

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from raysearch.core import UserError, is_own, is_private

DEFAULT_CACHE_GB = 200.0  # several data sets of the size of ImageNet at 224 px; set less on a laptop


def cache_dir() -> Path:
    """Return RAYSEARCH_CACHE if it is set, else the folder `raysearch` in the user's cache directory."""
    named = os.environ.get("RAYSEARCH_CACHE")
    return Path(named) if named else default_cache_dir()


def default_cache_dir() -> Path:
    """Return the folder `raysearch` in the user's cache directory. It is made if need be, and closed to other users.

    Raises:
        UserError: the user has no home directory.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / "raysearch"
    except RuntimeError:
        raise UserError("no home directory for the cache; name a folder of your own with RAYSEARCH_CACHE") from None
    with contextlib.suppress(OSError):  # whoever writes into it names the fault
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_own(folder.lstat()):
            folder.chmod(0o700)
    return folder


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


def private_place(path: Path) -> Path:
    """Return a path in the cache if no other user can have put it there, else the same path in the default cache.

    Args:
        path: of a file or folder in a cache, which need not exist.

    Raises:
        UserError: the default cache belongs to another user too.
    """
    cache = cache_dir()
    if not path.is_relative_to(cache):
        cache = path.parent
    # Nobody else is at home in the default cache, whatever group its folders have.
    if _is_private_below(cache, path, is_private if os.environ.get("RAYSEARCH_CACHE") else is_own):
        return path
    default_place = default_cache_dir() / path.relative_to(cache)
    if default_place != path and _is_private_below(default_cache_dir(), default_place, is_own):
        return default_place
    raise UserError(
        f"'{path}' belongs to another user, or others may write to it; name a folder of your own with RAYSEARCH_CACHE"
    )


def is_safe_folder(folder: Path) -> bool:
    """Return whether a folder is one, or a link of this user to one, or can be made."""
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(status.st_mode) or (stat.S_ISLNK(status.st_mode) and is_own(status) and folder.is_dir())


def _is_private_below(cache: Path, path: Path, check: Callable[[os.stat_result], bool]) -> bool:
    """Return whether each part of a path below the cache passes a check, or can be made by this user."""
    for part in (*reversed(path.relative_to(cache).parents[:-1]), path.relative_to(cache)):
        try:
            status = os.lstat(cache / part)
        except FileNotFoundError:
            return _can_create(cache / part)
        except OSError:
            return False
        if not check(status) or not (is_safe_folder(cache / part) or stat.S_ISREG(status.st_mode)):
            return False
    return True


def _can_create(path: Path) -> bool:
    existing = next((parent for parent in path.parents if parent.exists()), Path("/"))
    return os.access(existing, os.W_OK)
