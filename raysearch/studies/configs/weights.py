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
        found = path.stat()
        return _sha256(path.resolve(), found.st_size, found.st_mtime_ns)
    if "/" in weights or path.suffix:
        raise UserError(f"model.weights: no file '{weights}'")
    return weights


@functools.lru_cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """Of a file that every cell of a plan asks for; read again when its size or time of change is another."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
