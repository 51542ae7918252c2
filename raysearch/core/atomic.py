"""Files that are complete or absent, even if their writer is killed or the disk is full.

A file is written under a temporary name and renamed. Before it is renamed it is synced to disk, so that a power failure
does not leave an empty file under the final name. A caller may skip the sync if its readers detect a damaged file.
A new file has the mode that the umask allows, and a file that is replaced passes its mode on.
"""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from raysearch.core.errors import WriteError

_LONGEST_PREFIX = 40  # characters of the final name in the temporary one; a name has at most 255 bytes


def replace_file(
    path: Path, write: Callable[[Path], object], *, temporary_in: Path | None = None, sync: bool = True
) -> Path:
    """Write a file under a temporary name, then rename it; readers see the old file or the new one.

    A path that names a device or a pipe, such as /dev/stdout, is written to and not replaced.

    Args:
        path: the file; its directory is created.
        write: fills the file at the path that it is given.
        temporary_in: directory of the temporary file, on the same file system; None for the directory of `path`.
        sync: whether the content must be on disk before the file has its name.

    Returns:
        `path`.

    Raises:
        WriteError: the file cannot be written. The old file stays.
    """
    temporary: Path | None = None
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            return _write_to_device(path, write)
        path.parent.mkdir(parents=True, exist_ok=True)
        old_mode = _mode_of(path)
        temporary = _create_temporary(path, temporary_in or path.parent, 0o666 if old_mode is None else 0o600)
        write(temporary)
        if sync:
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        if old_mode is not None:
            os.chmod(temporary, old_mode)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, WriteError):
            reason = os.strerror(error.errno) if error.errno else str(error)  # libraries have words of their own
            raise WriteError(error.errno, reason, str(path)) from error
        raise
    return path


def write_bytes(path: Path, data: bytes | memoryview, *, temporary_in: Path | None = None, sync: bool = True) -> Path:
    """Write a file of bytes; see `replace_file`."""
    return replace_file(path, lambda temporary: temporary.write_bytes(data), temporary_in=temporary_in, sync=sync)


def write_text(path: Path, text: str) -> Path:
    """Write a file of UTF-8 text with line feeds, on every machine; see `replace_file`.

    Half a surrogate pair, which stands for a byte of a name that is not UTF-8, is written as an escape sequence.
    """
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def _create_temporary(path: Path, directory: Path, mode: int) -> Path:
    """Create an empty file that nobody else opens. The kernel applies the umask, or the directory's default ACL."""
    temporary = directory / f".{path.name[:_LONGEST_PREFIX]}.{secrets.token_hex(6)}"
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    return temporary


def _mode_of(path: Path) -> int | None:
    """Return the mode of the file that will be replaced, if there is one."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return stat.S_IMODE(status.st_mode) if stat.S_ISREG(status.st_mode) else None


def _write_to_device(path: Path, write: Callable[[Path], object]) -> Path:
    with tempfile.TemporaryDirectory(prefix="raysearch-") as directory:
        complete = Path(directory) / "file"
        write(complete)
        with open(complete, "rb") as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target)
    return path
