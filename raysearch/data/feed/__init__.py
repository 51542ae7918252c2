"""From shards to the images that a run works on: resident (decoded once, in one array) or streamed (decoded ahead).

Both modes give the same bytes for the same rows; random views of them are drawn in `augmentation`.
"""

from raysearch.data.feed.feed import (
    CLASS_SPLITS,
    SPLITS,
    SplitRows,
    all_rows,
    decode_all,
    decode_dataset,
    image_sets,
    open_local,
    reindex,
    split_rows,
)

__all__ = [
    "CLASS_SPLITS",
    "SPLITS",
    "SplitRows",
    "all_rows",
    "decode_all",
    "decode_dataset",
    "image_sets",
    "open_local",
    "reindex",
    "split_rows",
]
