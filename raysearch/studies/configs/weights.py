"""Starting weights count by what they hold, not by where they lie."""

import functools
import hashlib
from pathlib import Path

from raysearch.core.errors import UserError


def identity(weights: str | None) -> str | None:
    """A file's hash, or the name of published weights as it is; a path that is no file is a UserError."""
    if weights is None:
        return None
    path = Path(weights)
    if path.is_file():
        return file_digest(path)
    if "/" in weights or path.suffix:
        raise UserError(f"model.weights: no file '{weights}'")
    return weights


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file. It is read again only when its size or its time of change differs."""
    status = path.stat()
    return _sha256(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
