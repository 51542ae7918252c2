"""Starting weights count by what they hold, not by where they lie."""

import functools
import hashlib
from pathlib import Path

from raysearch.errors import UserError


@functools.lru_cache
def identity(weights: str | None) -> str | None:
    """A file's hash, or the name of published weights as it is; a path that is no file is a UserError."""
    if weights is None:
        return None
    path = Path(weights)
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if "/" in weights or path.suffix:
        raise UserError(f"model.weights: no file '{weights}'")
    return weights
