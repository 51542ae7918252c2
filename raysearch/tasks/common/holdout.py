"""The validation part that is held out of train, and the classes that are left to train on."""

import numpy as np

from raysearch.core import UserError
from raysearch.data.feed import ImageSet


def hold_out(train: ImageSet, share: float) -> tuple[ImageSet, ImageSet]:
    """Split off a validation part: the same for every seed, evenly spread through each class, never all of a class.

    Args:
        train: images to split.
        share: the share of each class that is held out.

    Returns:
        The remaining images and the held-out ones.

    Raises:
        UserError: a share above zero that holds out nothing.
    """
    held_out = np.zeros(len(train), dtype=bool)
    for label in np.unique(train.labels):
        rows = np.flatnonzero(train.labels == label)
        count = min(round(share * len(rows)), max(0, len(rows) - 2))
        held_out[rows[np.linspace(0, len(rows) - 1, count, dtype=int)]] = True
    if share and not held_out.any():
        raise UserError(f"data.validation={share} holds out no images: the classes are too small. Use a larger share.")
    return train.subset(~held_out) if held_out.any() else train, train.subset(held_out)


def check_classes(labels: np.ndarray) -> None:
    """Check that every class has two images to train on: one is the other's positive.

    Args:
        labels: (n,) of the train images.

    Raises:
        UserError: a class has fewer, or there is one class.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise UserError("retrieval needs at least two classes to train on")
    if counts.min() < 2:
        raise UserError(f"class {classes[counts.argmin()]} has one image to train on; retrieval needs at least two")
