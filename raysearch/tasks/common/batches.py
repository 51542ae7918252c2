"""Batches and random numbers that all workers of a run draw alike, from the config and the seed."""

import hashlib

import torch

from raysearch.core import UserError


def generator(seed: int, *place: int) -> torch.Generator:
    """Return the random numbers of a place in a run with this seed, such as an iteration and an epoch."""
    digest = hashlib.sha256(" ".join(map(str, (seed, *place))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def batch_sizes(rows: int, size: int, workers: int = 1) -> list[int]:
    """Return the sizes of the batches of `rows` rows.

    A last batch that would leave a worker fewer than two images joins the one before, since batch norm needs two.

    >>> batch_sizes(9, size=4), batch_sizes(11, size=4), batch_sizes(11, size=4, workers=2)
    ([4, 5], [4, 4, 3], [4, 7])
    """
    sizes = [min(size, rows - start) for start in range(0, rows, size)]
    if len(sizes) > 1 and sizes[-1] < 2 * workers:
        sizes[-2:] = [sum(sizes[-2:])]
    return sizes


def check_batches(smallest: int, workers: int) -> None:
    """Check that every worker gets two images of each batch.

    Args:
        smallest: images of the smallest batch.
        workers: that share it.

    Raises:
        UserError: a worker gets fewer.
    """
    if workers > 1 and smallest < 2 * workers:
        raise UserError(
            f"batches of {smallest} images are too small for {workers} workers, which need two each; "
            "set a larger train.batch or train.samples, or fewer workers"
        )
