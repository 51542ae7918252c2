"""Files anywhere: a local path or a URI, the file systems behind them, local copies, and the cache directory.

The rest of raysearch reads and writes through a `Location` and never asks where a file is.
"""

from raysearch.storage.cache import cache_bytes, cache_dir, private_place
from raysearch.storage.local_copies import local_copy
from raysearch.storage.location import Location, LocationLike
from raysearch.storage.uris import is_uri, join_uri, names_a_server, without_credentials

__all__ = [
    "Location",
    "LocationLike",
    "cache_bytes",
    "cache_dir",
    "is_uri",
    "join_uri",
    "local_copy",
    "names_a_server",
    "private_place",
    "without_credentials",
]
