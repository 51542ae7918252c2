"""Shards to the images that a run works on, in one of two modes behind one interface.

*Resident*: every image is decoded and resized once, into one array that all trials map. *Streamed*: images are decoded
when they are needed (`stream`), where the array would take more than its share of the memory. Both give the same bytes
for the same rows, so a cell has the same numbers in either mode.
"""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from raysearch.core.errors import UserError
from raysearch.data import shards
from raysearch.data.feed.decoding import Decoder, DecodeSpec, ThreadDecoder, chunk_rows
from raysearch.data.feed.image_set import ImageSet, Pixels
from raysearch.data.feed.streaming import ImageStream
from raysearch.data.feed_mode import FeedDecision, FeedMode, choose_feed_mode
from raysearch.data.shards import ShardReader
from raysearch.data.shards import shard_rows as rows
from raysearch.storage import LocationLike

SPLITS = ("train", "test")
_MEMORY_SHARE = 0.5  # of a machine without Ray
CLASS_SPLITS = ("train", "val", "test")  # where splits share no class


class SplitRows(NamedTuple):
    """Which images of a data set are in a split, in canonical order."""

    rows: np.ndarray  # (n,) int64, counted over the whole data set
    labels: np.ndarray  # (n,) int64


def split_rows(directory: LocationLike, of_class: Sequence[str] | None = None) -> dict[str, SplitRows]:
    """The images of each split.

    Args:
        directory: of shards; a path or a URI.
        of_class: of each class, by label, the split that all its images are in; None: each row's own.

    Returns:
        "train" and "test", and with `of_class` "val".

    Raises:
        UserError: a split without an image.
    """
    table = rows.read_rows(directory, columns=["label", "split"])
    labels = table["label"].to_numpy().astype(np.int64)
    splits = table["split"].to_numpy() if of_class is None else np.array(of_class)[labels]
    found = {}
    for split in SPLITS if of_class is None else CLASS_SPLITS:
        where = np.flatnonzero(splits == split)
        if not len(where):
            raise UserError(f"the data set has no image in its {split} split")
        found[split] = SplitRows(where, labels[where])
    return found


def all_rows(divided: Mapping[str, SplitRows]) -> np.ndarray:
    """All rows of all splits, ascending: (m,) int64."""
    return np.sort(np.concatenate([one.rows for one in divided.values()]))


def decode_all(decode: Decoder, numbers: np.ndarray, view: DecodeSpec) -> np.ndarray:
    """The images of rows (m,) in one array: (m, side, side, 3) uint8."""
    out = np.empty((len(numbers), view.side, view.side, 3), np.uint8)
    done = 0
    for images in decode(chunk_rows(numbers, view)):
        out[done : done + len(images)] = images
        done += len(images)
    assert done == len(numbers), "a chunk was lost"
    return out


def reindex(numbers: np.ndarray, divided: Mapping[str, SplitRows]) -> dict[str, SplitRows]:
    """The splits with their rows counted among `numbers` (m,), which are ascending and hold them all."""
    return {split: SplitRows(np.searchsorted(numbers, one.rows), one.labels) for split, one in divided.items()}


def image_sets(pixels: Pixels, divided: Mapping[str, SplitRows]) -> dict[str, ImageSet]:
    """The splits of images that are read by the splits' rows."""
    return {split: ImageSet(pixels, one.labels, one.rows) for split, one in divided.items()}


def decode_dataset(
    directory: LocationLike, side: int, zoom: float = 1.0, parts: Sequence[str] | None = None
) -> dict[str, ImageSet]:
    """Decode a data set in this process.

    Args:
        directory: of shards; a path or a URI.
        side: of the decoded images, in pixels.
        zoom: see `jpeg.decode`.
        parts: `of_class` of `members`.

    Returns:
        An ImageSet for "train" and for "test", and with `parts` for "val", each in canonical order.
    """
    return open_local(directory, DecodeSpec(side, zoom), parts, FeedMode.resident)[0]


def open_local(
    directory: LocationLike, view: DecodeSpec, parts: Sequence[str] | None = None, asked: FeedMode | None = None
) -> tuple[dict[str, ImageSet], FeedDecision]:
    """A data set for this process, without Ray.

    Args:
        directory: of shards.
        view: how images are decoded.
        parts: `of_class` of `members`.
        asked: in which mode; None: resident, where it takes no more than half of this machine's memory.

    Returns:
        As `decode`, and the mode with its reason.
    """
    divided = split_rows(directory, parts)
    numbers = all_rows(divided)
    shelf, threads = ShardReader(directory, shards.read_manifest(directory)), os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    choice = choose_feed_mode(asked, len(numbers) * view.bytes, memory, _MEMORY_SHARE, where="this machine's memory")
    through = ThreadDecoder(shelf, view, threads)
    if choice.mode is FeedMode.streamed:
        return image_sets(ImageStream(shelf, view, through), divided), choice
    return image_sets(decode_all(through, numbers, view), reindex(numbers, divided)), choice
