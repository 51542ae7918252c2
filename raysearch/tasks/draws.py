"""What a run draws at random. A draw follows from the seed and its place in the run alone.

So a run can go on anywhere, and workers draw alike without a word to each other. Legend: `n` rows of the database, `r`
sampled rows.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor


class Draws:
    """The draws of one run.

    Args:
        seed: of the run.
        labels: (n,) int64 of the database, at least two rows a class.
    """

    def __init__(self, seed: int, labels: np.ndarray) -> None:
        self.seed, self.labels = seed, labels
        self._by_class = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]

    def generator(self, *at: int) -> torch.Generator:
        """Randomness of a place: an iteration, or an epoch of it."""
        digest = hashlib.sha256(" ".join(map(str, (self.seed, *at))).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def codes(self, bits: int) -> Tensor:
        """Codes to start from: (n, bits) of -1 and +1."""
        # At random an image: one code a class at the start would make the codes follow nothing but themselves.
        return (2 * torch.randint(0, 2, (len(self.labels), bits), generator=self.generator(-1)) - 1).float()

    def sample(self, iteration: int, size: int) -> Tensor:
        """Rows that an iteration trains on: (r,) int64, none twice; r is `size`, or n where that is less."""
        return torch.randperm(len(self.labels), generator=self.generator(iteration))[:size]

    def positives(self, sample: Tensor, generator: torch.Generator) -> Tensor:
        """Another image of the same class for each sampled row, from all rows: (r,) int64."""
        draws = torch.rand(len(sample), generator=generator).numpy()
        chosen = np.empty(len(sample), dtype=np.int64)
        for index, (row, draw) in enumerate(zip(sample.tolist(), draws, strict=True)):
            others = self._by_class[self.labels[row]]
            pick = int(draw * (len(others) - 1))
            chosen[index] = others[pick] if others[pick] < row else others[pick + 1]
        return torch.from_numpy(chosen)
