"""From shards to the images of each split, in one of two modes behind one interface.

*Resident*: every image is decoded and resized once, into one array that all trials map. *Streamed*: images are decoded
when they are needed (`streaming`), if the array would take more than its share of the memory. Both give the same bytes
for the same rows, so a cell has the same numbers in either mode.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from raysearch.core import UserError, count_cpus
from raysearch.data import shards
from raysearch.data.feed import decoding, image_set, streaming
from raysearch.data.feed_mode import FeedDecision, FeedMode, choose_feed_mode
from raysearch.storage import LocationLike

SPLITS = ("train", "test")
CLASS_SPLITS = ("train", "val", "test")  # if splits share no class
_MEMORY_SHARE = 0.5  # of a machine without Ray


class SplitRows(NamedTuple):
    """The images of one split, in canonical order."""

    rows: np.ndarray  # (n,) int64, counted over the whole data set
    labels: np.ndarray  # (n,) int64


def split_rows(directory: LocationLike, of_class: Sequence[str] | None = None) -> dict[str, SplitRows]:
    """Return the rows of each split.

    Args:
        directory: a directory of shards; a path or a URI.
        of_class: the split of each class, by label; None if each row has its own split.

    Returns:
        "train" and "test", and with `of_class` "val".

    Raises:
        UserError: a split without images, other than the test classes, or shards that cannot be read.
    """
    table = shards.read_rows(directory, columns=["label", "split"])
    labels = table["label"].to_numpy().astype(np.int64)
    splits = table["split"].to_numpy() if of_class is None else np.array(of_class)[labels]
    divided = {}
    for split in SPLITS if of_class is None else CLASS_SPLITS:
        rows = np.flatnonzero(splits == split)
        if not len(rows) and (of_class is None or split != "test"):  # a pre-training needs no test classes
            raise UserError(f"the data set has no image in its {split} split")
        divided[split] = SplitRows(rows, labels[rows])
    return divided


def all_rows(divided: Mapping[str, SplitRows]) -> np.ndarray:
    """Return the rows of all splits, ascending: (m,) int64."""
    return np.sort(np.concatenate([split.rows for split in divided.values()]))


class ImagePieces:
    """Decoded images in several arrays, read like one array of shape (n, side, side, 3). Nothing is copied to make it.

    Args:
        pieces: arrays (k, side, side, 3) uint8 in the order of their rows. All have the same k, but the last may have
            fewer.

    Attributes:
        pieces: the arrays.
        shape: of all images together.
    """

    def __init__(self, pieces: Sequence[np.ndarray]) -> None:
        self.pieces = tuple(pieces)
        self.shape = (sum(map(len, self.pieces)), *self.pieces[0].shape[1:])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.take(rows)

    def take(self, rows: np.ndarray, axis: int = 0, out: np.ndarray | None = None, mode: str = "raise") -> np.ndarray:
        """Return the images of `rows` (B,): (B, side, side, 3) uint8. `np.take` calls it.

        Args:
            rows: (B,) int64, none of them negative.
            axis: 0.
            out: (B, side, side, 3) uint8, to write to; None for a new array.
            mode: "raise".

        Raises:
            IndexError: there is no such row.
        """
        rows = np.asarray(rows)
        if axis != 0 or mode == "wrap":
            raise ValueError("images are taken along axis 0, by rows that exist")
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.shape[0]:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.shape[0]} images")
        images = np.empty((len(rows), *self.shape[1:]), np.uint8) if out is None else out
        numbers, within = np.divmod(rows, len(self.pieces[0]))
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            images[places] = self.pieces[number][within[places]]
        return images


def decode_all(decoder: decoding.Decoder, rows: np.ndarray, spec: decoding.DecodeSpec) -> np.ndarray:
    """Decode rows (m,) into one array (m, side, side, 3) uint8.

    Args:
        decoder: the decoder of the rows.
        rows: (m,) int64.
        spec: how images are decoded.
    """
    empty = np.empty((0, spec.side, spec.side, 3), np.uint8)
    return next(decode_pieces(decoder, rows, spec, len(rows) * spec.bytes), empty)


def decode_pieces(
    decoder: decoding.Decoder, rows: np.ndarray, spec: decoding.DecodeSpec, piece_bytes: int
) -> Iterator[np.ndarray]:
    """Decode rows (m,) into arrays of at most `piece_bytes`, as `ImagePieces` takes them.

    A piece that the caller lets go is freed before the next one is allocated.

    Args:
        decoder: the decoder of the rows.
        rows: (m,) int64.
        spec: how images are decoded.
        piece_bytes: of a piece; it holds at least one image.

    Yields:
        (k, side, side, 3) uint8.
    """
    piece_rows = max(1, piece_bytes // spec.bytes)
    chunks = decoder(decoding.chunk_rows(rows, spec))
    rest = np.empty((0, spec.side, spec.side, 3), np.uint8)  # of a chunk that a piece had no room for
    for start in range(0, len(rows), piece_rows):
        piece = np.empty((min(piece_rows, len(rows) - start), spec.side, spec.side, 3), np.uint8)
        done = 0
        while done < len(piece):
            images = rest if len(rest) else next(chunks, rest)
            assert len(images), "a chunk was lost"
            taken = images[: len(piece) - done]
            piece[done : done + len(taken)] = taken
            rest = images[len(taken) :]
            done += len(taken)
        yield piece
        del piece
    assert not len(rest), "there are more images than rows"


def reindex(rows: np.ndarray, divided: Mapping[str, SplitRows]) -> dict[str, SplitRows]:
    """Replace each split's rows by their positions in `rows` (m,), which is ascending and contains them all."""
    return {name: SplitRows(np.searchsorted(rows, split.rows), split.labels) for name, split in divided.items()}


def image_sets(pixels: image_set.Pixels, divided: Mapping[str, SplitRows]) -> dict[str, image_set.ImageSet]:
    """Return an ImageSet for each split, whose rows are positions in `pixels`."""
    return {name: image_set.ImageSet(pixels, split.labels, split.rows) for name, split in divided.items()}


def decode_dataset(
    directory: LocationLike, side: int, zoom: float = 1.0, parts: Sequence[str] | None = None
) -> dict[str, image_set.ImageSet]:
    """Decode a data set in this process.

    Args:
        directory: a directory of shards; a path or a URI.
        side: the side of the decoded images, in pixels.
        zoom: see `raysearch.data.shards.decode_jpeg`.
        parts: the split of each class, by label; None if each row has its own split.

    Returns:
        An ImageSet for "train" and for "test", and with `parts` for "val", each in canonical order.

    Raises:
        UserError: as `split_rows`, or images that do not fit half of the memory.
    """
    return open_local(directory, decoding.DecodeSpec(side, zoom), parts, FeedMode.resident)[0]


def open_local(
    directory: LocationLike, spec: decoding.DecodeSpec, parts: Sequence[str] | None = None, mode: FeedMode | None = None
) -> tuple[dict[str, image_set.ImageSet], FeedDecision]:
    """Open a data set in this process, without Ray.

    Args:
        directory: a directory of shards; a path or a URI.
        spec: how images are decoded.
        parts: the split of each class, by label; None if each row has its own split.
        mode: the mode of the feed; None for resident if it takes no more than half of this machine's memory.

    Returns:
        The sets of `decode_dataset`, and the mode with its reason.

    Raises:
        UserError: as `split_rows`, or resident images that do not fit half of the memory.
    """
    divided = split_rows(directory, parts)
    rows = all_rows(divided)
    reader = shards.ShardReader(directory, shards.read_manifest(directory))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    decision = choose_feed_mode(mode, len(rows) * spec.bytes, memory, _MEMORY_SHARE, where="this machine's memory")
    decoder = decoding.ThreadDecoder(reader, spec, count_cpus())
    if decision.mode is FeedMode.streamed:
        return image_sets(streaming.ImageStream(reader, spec, decoder), divided), decision
    return image_sets(decode_all(decoder, rows, spec), reindex(rows, divided)), decision
