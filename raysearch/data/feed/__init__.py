"""From shards to the images that a run works on: resident (decoded once, in one array) or streamed (decoded ahead).

Both modes give the same bytes for the same rows; random views of them are drawn in `augmentation`.
"""

from raysearch.data.feed.feed import CLASS_SPLITS, SPLITS, Members, among, collect, decode, here, members, sets, wanted

__all__ = ["CLASS_SPLITS", "SPLITS", "Members", "among", "collect", "decode", "here", "members", "sets", "wanted"]
