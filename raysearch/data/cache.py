"""Where this machine keeps what can be computed again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """RAYSEARCH_CACHE, or `raysearch` in the user's cache directory."""
    given = os.environ.get("RAYSEARCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "raysearch"
