"""The cache directory of this machine: files that can be computed again, or copied again from elsewhere."""

import os
from pathlib import Path

from raysearch.core import UserError

DEFAULT_CACHE_GB = 200.0  # several data sets of the size of ImageNet at 224 px; set less on a laptop


def cache_dir() -> Path:
    """Return RAYSEARCH_CACHE if it is set, else the folder `raysearch` in the user's cache directory."""
    named = os.environ.get("RAYSEARCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "raysearch"


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
