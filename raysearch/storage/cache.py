"""Where this machine keeps what can be computed again, or copied again from elsewhere."""

import os
from pathlib import Path

from raysearch.core.errors import UserError

DEFAULT_CACHE_GB = 200.0  # several data sets of the size of ImageNet at 224 px; a laptop's disk says less


def cache_dir() -> Path:
    """RAYSEARCH_CACHE, or `raysearch` in the user's cache directory."""
    given = os.environ.get("RAYSEARCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "raysearch"


def cache_bytes() -> int:
    """What copies of remote files may take on this machine: RAYSEARCH_CACHE_GB, else 200 GB.

    Raises UserError: a value that is no size.
    """
    given = os.environ.get("RAYSEARCH_CACHE_GB")
    try:
        gigabytes = float(given) if given else DEFAULT_CACHE_GB
        return int(gigabytes * 1e9)
    except (ValueError, OverflowError):
        raise UserError(f"RAYSEARCH_CACHE_GB is a size in GB, as 200, not {given!r}") from None
