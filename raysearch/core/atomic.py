"""Files that are complete or absent, even if their writer is killed.

A file is written under a temporary name and renamed. Before it is renamed it is synced to disk, so that a power failure
does not leave an empty file under the final name. A caller may skip the sync if its readers detect a damaged file.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def replace_file(
    path: Path, write: Callable[[Path], object], *, temporary_in: Path | None = None, sync: bool = True
) -> Path:
    """Write a file under a temporary name, then rename it; readers see the old file or the new one.

    Args:
        path: the file; its directory is created.
        write: fills the file at the path that it is given.
        temporary_in: directory of the temporary file, on the same file system; None for the directory of `path`.
        sync: whether the content must be on disk before the file has its name.

    Returns:
        `path`.

    Raises:
        OSError: the file cannot be written. The old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=temporary_in or path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(Path(temporary))
        if sync:
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
