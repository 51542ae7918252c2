"""The random draws of a run: samples, positives, orders. Each follows from the seed and its place in the run alone.

So a run can continue anywhere, workers draw alike without communication, and the images of an epoch are known before it
begins. Legend: `n` rows of the database, `r` sampled rows.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.common import batch_sizes, generator

if TYPE_CHECKING:
    from raysearch.tasks.retrieval.methods.base import Method


class RunSampler:
    """The draws of one run.

    Args:
        seed: the seed of the run.
        labels: (n,) int64 of the database, at least two rows per class.
    """

    def __init__(self, seed: int, labels: np.ndarray) -> None:
        self.seed = seed
        self.labels = labels
        self._by_class = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]

    def generator(self, *place: int) -> torch.Generator:
        """Return the random numbers of a place: an iteration, or an epoch of it."""
        return generator(self.seed, *place)

    def codes(self, bits: int, start: str = "signs") -> Tensor:
        """Draw codes to start from.

        Args:
            bits: c.
            start: "signs" for -1 and +1, "normal" for normal numbers.

        Returns:
            (n, c).
        """
        # One draw per image: with one code per class at the start, the codes would follow nothing but themselves.
        shape = (len(self.labels), bits)
        generator = self.generator(-1)
        if start == "normal":
            return torch.randn(shape, generator=generator)
        return (2 * torch.randint(0, 2, shape, generator=generator) - 1).float()

    def sample(self, iteration: int, size: int) -> Tensor:
        """Draw the rows that an iteration trains on: (r,) int64, distinct; r is `size`, or n where that is less."""
        return torch.randperm(len(self.labels), generator=self.generator(iteration))[:size]

    def positives(self, sample: Tensor, generator: torch.Generator, source: str = "database") -> Tensor:
        """Draw another image of the same class for each sampled row.

        Args:
            sample: (r,) rows.
            generator: the generator of the epoch.
            source: "database" draws from all rows, "sample" from the sampled ones. An image that is alone there is its
                own positive.

        Returns:
            (r,) int64 rows.
        """
        by_class = self._by_class
        if source == "sample":
            rows = np.sort(sample.numpy())
            by_class = [rows[self.labels[rows] == label] for label in range(len(self._by_class))]
        draws = torch.rand(len(sample), generator=generator).numpy()
        chosen = np.empty(len(sample), dtype=np.int64)
        for index, (row, draw) in enumerate(zip(sample.tolist(), draws, strict=True)):
            candidates = by_class[self.labels[row]]
            pick = int(draw * (len(candidates) - 1))
            alone = len(candidates) == 1
            chosen[index] = candidates[pick] if alone or candidates[pick] < row else candidates[pick + 1]
        return torch.from_numpy(chosen)

    def grouped(self, sample: Tensor, per_class: int, generator: torch.Generator) -> Tensor:
        """Draw an order in which images of a class are next to each other.

        Batches cut from it hold similar pairs, like batches of a sampler of P classes with Q images each.

        Args:
            sample: (r,) rows.
            per_class: images of a class in a group; 0: any order.
            generator: the generator of the epoch.

        Returns:
            (r,) positions of the sample.
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


class Epoch(NamedTuple):
    """The images of an epoch that a worker trains on, `r` of them in the order of its steps; on the host."""

    positions: Tensor  # (r,) int64, in the sample
    rows: Tensor  # (r,) of the anchors
    positives: Tensor  # (r,) rows of images of the same classes
    inputs: Tensor  # (r, k) random inputs of the network
    steps: tuple["Step", ...]

    @property
    def sizes(self) -> list[int]:
        """Return the number of this worker's images in each step."""
        return [step.images for step in self.steps]

    def loads(self, positives: bool) -> list[Tensor]:
        """Return the rows of each load, in order: the anchors of a step, then its positives if they are used."""
        anchors = self.rows.split(self.sizes)
        if not positives:
            return list(anchors)
        return [rows for pair in zip(anchors, self.positives.split(self.sizes), strict=True) for rows in pair]


class Step(NamedTuple):
    """The sizes of a training step."""

    images: int  # of this worker
    all_images: int  # of all workers together


class EpochSampler:
    """The draws of a run's epochs, and the rows that follow from them.

    Args:
        config: the config of the run.
        sampler: the sampler of the run.
        method: the method that decides the order.
    """

    def __init__(self, config: RetrievalConfig, sampler: RunSampler, method: "Method") -> None:
        self._config = config
        self._sampler = sampler
        self._method = method

    def draw(self, sample: Tensor, iteration: int, epoch: int, worker: Worker) -> Epoch:
        """Draw an epoch over the sampled rows, alike on all workers, and return the part of one of them."""
        generator = self._sampler.generator(iteration, epoch)
        positives = self._sampler.positives(sample, generator, self._config.esrl.positives)
        order = self._method.order(sample, generator)
        inputs = self._method.draw_inputs(len(sample), generator)
        sizes = batch_sizes(len(sample), self._config.train.batch, worker.world_size)
        shares = [worker.share(batch) for batch in order.split(sizes)]
        positions = torch.cat(shares)
        return Epoch(
            positions,
            sample[positions],
            positives[positions],
            torch.cat([worker.share(drawn) for drawn in inputs.split(sizes)]),
            tuple(Step(len(share), size) for share, size in zip(shares, sizes, strict=True)),
        )

    def rows(self, iteration: int, worker: Worker) -> Iterator[Tensor]:
        """Yield the rows that a worker loads in an iteration, in the order in which `PixelViews` loads them."""
        sample = self._sampler.sample(iteration, self._config.train.samples)
        for number in range(self._config.train.epochs):
            yield from self.draw(sample, iteration, number, worker).loads(self._config.uses_positive)
