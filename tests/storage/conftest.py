"""The small data set on disk and on the S3 server, as the tests of data have it."""

from ..data.conftest import _nothing_at_hand, cache, eight_shards, remote

__all__ = ["_nothing_at_hand", "cache", "eight_shards", "remote"]
