"""What a run draws at random. A draw follows from the seed and its place in the run alone.

So a run can go on anywhere, and workers draw alike without a word to each other. Legend: `n` rows of the database, `r`
sampled rows.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, *at: int) -> torch.Generator:
    """Randomness of a place in a run with this seed."""
    digest = hashlib.sha256(" ".join(map(str, (seed, *at))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class RunSampler:
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
        return generator(self.seed, *at)

    def codes(self, bits: int, start: str = "signs") -> Tensor:
        """Codes to start from: (n, bits) of -1 and +1, or, with "normal", of normal numbers."""
        # At random an image: one code a class at the start would make the codes follow nothing but themselves.
        shape, generator = (len(self.labels), bits), self.generator(-1)
        if start == "normal":
            return torch.randn(shape, generator=generator)
        return (2 * torch.randint(0, 2, shape, generator=generator) - 1).float()

    def sample(self, iteration: int, size: int) -> Tensor:
        """Rows that an iteration trains on: (r,) int64, none twice; r is `size`, or n where that is less."""
        return torch.randperm(len(self.labels), generator=self.generator(iteration))[:size]

    def positives(self, sample: Tensor, generator: torch.Generator, source: str = "database") -> Tensor:
        """Another image of the same class for each sampled row: (r,) int64.

        Args:
            sample: (r,) rows.
            generator: of the epoch.
            source: "database" takes it from all rows, "sample" from the sampled ones; an image that is alone there is
                its own positive.
        """
        by_class = self._by_class
        if source == "sample":
            rows = np.sort(sample.numpy())
            by_class = [rows[self.labels[rows] == label] for label in range(len(self._by_class))]
        draws = torch.rand(len(sample), generator=generator).numpy()
        chosen = np.empty(len(sample), dtype=np.int64)
        for index, (row, draw) in enumerate(zip(sample.tolist(), draws, strict=True)):
            others = by_class[self.labels[row]]
            pick = int(draw * (len(others) - 1))
            alone = len(others) == 1
            chosen[index] = others[pick] if alone or others[pick] < row else others[pick + 1]
        return torch.from_numpy(chosen)

    def grouped(self, sample: Tensor, per_class: int, generator: torch.Generator) -> Tensor:
        """Positions of the sample (r,) in random order, with `per_class` images of a class next to each other.

        Batches cut from it hold pairs alike, as those of a sampler of P classes and Q images each. 0 leaves it to
        chance.
        """
        order = torch.randperm(len(sample), generator=generator)
        if not per_class:
            return order
        labels = self.labels[sample[order].numpy()]
        groups = [
            group for label in np.unique(labels) for group in order[torch.from_numpy(labels == label)].split(per_class)
        ]
        shuffled = torch.randperm(len(groups), generator=generator)
        return torch.cat([groups[index] for index in shuffled.tolist()])
