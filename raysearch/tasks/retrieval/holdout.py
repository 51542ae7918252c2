"""How the images of a task are divided: a part held out of train, and a sample into batches."""

import numpy as np

from raysearch.core.errors import UserError
from raysearch.data.feed import ImageSet


def hold_out(train: ImageSet, share: float) -> tuple[ImageSet, ImageSet]:
    """Split off a validation part, the same for every seed: evenly spread through each class, never all of it.

    Raises UserError: a share above zero that holds out nothing.
    """
    held = np.zeros(len(train), dtype=bool)
    for label in np.unique(train.labels):
        rows = np.flatnonzero(train.labels == label)
        count = min(round(share * len(rows)), max(0, len(rows) - 2))
        held[rows[np.linspace(0, len(rows) - 1, count, dtype=int)]] = True
    if share and not held.any():
        raise UserError(f"data.validation={share} holds out no image of classes this small")
    return train.subset(~held) if held.any() else train, train.subset(held)


def check_classes(labels: np.ndarray) -> None:
    """Every class needs two images to train on: one is the other's positive. Raises UserError."""
    present, counts = np.unique(labels, return_counts=True)
    if len(present) < 2:
        raise UserError("retrieval needs at least two classes to train on")
    if counts.min() < 2:
        raise UserError(f"class {present[counts.argmin()]} has one image to train on; retrieval needs at least two")


def batch_sizes(rows: int, size: int, workers: int = 1) -> list[int]:
    """Sizes of the batches of `rows` rows.

    A last batch that would leave a worker fewer than two images joins the one before, since batch norm needs two.

    >>> batch_sizes(9, size=4), batch_sizes(11, size=4), batch_sizes(11, size=4, workers=2)
    ([4, 5], [4, 4, 3], [4, 7])
    """
    sizes = [min(size, rows - start) for start in range(0, rows, size)]
    if len(sizes) > 1 and sizes[-1] < 2 * workers:
        sizes[-2:] = [sum(sizes[-2:])]
    return sizes


def check_batches(smallest: int, workers: int) -> None:
    """Raise UserError where a batch of `smallest` images would leave a worker fewer than two."""
    if workers > 1 and smallest < 2 * workers:
        raise UserError(
            f"batches of {smallest} images are too small for {workers} workers, which need two each; "
            "set a larger train.batch or train.samples, or fewer workers"
        )
