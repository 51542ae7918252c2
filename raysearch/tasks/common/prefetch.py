"""Sends for images before they are needed: those of a step when it begins, and those of the step after it."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from raysearch.data.feed import ImageSet


class Prefetcher:
    """Each step's images are sent for once, also when a run goes on from a later step. Resident ones are there already.

    Args:
        images: that steps train on.
        rows: of a step, by its number, in the order in which they are loaded.
    """

    def __init__(self, images: ImageSet, rows: Callable[[int], Iterable[Tensor]]) -> None:
        self._images, self._rows, self._sent = images, rows, 0

    def send_for(self, step: int, end: int) -> None:
        """Before `step` begins, of steps up to `end`."""
        if not self._images.streamed:
            return
        for number in range(max(self._sent, step), min(step + 2, end)):
            self._images.prefetch(torch.cat(list(self._rows(number))))
            self._sent = number + 1
