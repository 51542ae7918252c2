"""What a retrieval network does with images: where it looks, what SREM erases, what it finds.

As figures 6, 8 and 9 of FCAENet (arXiv 2110.04479) show them: the nearest images of a query, the regions that are
erased, and the channel mean of the last features over the image. Departures: the paper picked its images and they are
drawn here, by a fixed seed, beside those where two variants differ most in either direction; and a mask is that of the
trained network, in the mode it is used in and on the image as it is, where in training it is that of the step's network
on a random view.

Legend: `m` queries, `n` database items, `c` bits, `W` words of a packed code, `H` the image side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from raysearch.data.feed import MEAN, ImageSet, normalize
from raysearch.inspection.choosing import CellChoice
from raysearch.inspection.loading import FinishedRun
from raysearch.models.hashing.packed import Words, hamming, pack
from raysearch.models.srem import activation_map
from raysearch.tasks.metrics import hamming_metrics
from raysearch.tasks.metrics.ranking import Ranking
from raysearch.tasks.retrieval.shallow_task import ShallowHashingTask
from raysearch.tasks.retrieval.task import RetrievalTask
from raysearch.tasks.retrieval.views import srem_mask

NEAREST = 10  # as the paper's figure 6 shows
DRAW = 0  # the seed of what is drawn: the same images in every gallery of a data set

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]
Queries = Sequence[int] | Rows


class Picture(NamedTuple):
    pixels: Pixels  # (H, H, 3)
    label: int


class Scene(NamedTuple):
    """An image under a network."""

    picture: Picture
    heat: NDArray[np.float32]  # (H, H) in [0, 1], equations 3 and 4
    kept: NDArray[np.bool_] | None  # (H, H), False where SREM erases; None where the cell was trained without
    erased: Pixels | None  # (H, H, 3), as the network is shown it: what is erased has the mean colour


class Neighbour(NamedTuple):
    number: int  # of its picture
    label: int
    distance: int  # in bits


class Ranked(NamedTuple):
    """What a query finds."""

    number: int  # of the query's picture
    label: int
    precision: float  # average precision, expected over ties
    nearest: tuple[Neighbour, ...]  # equal distances in the order of the database


class Compared(NamedTuple):
    """A query under the reference and under the variant."""

    reference: Ranked
    own: Ranked


class Look(NamedTuple):
    """What one cell does."""

    cell: CellChoice
    erasures: tuple[Scene, ...]  # of drawn database images
    attention: tuple[Scene, ...]  # of the drawn queries
    drawn: tuple[Ranked, ...]
    gains: tuple[Compared, ...]  # queries whose average precision is farthest above the reference's
    losses: tuple[Compared, ...]  # and farthest below


class Exhibit(NamedTuple):
    looks: tuple[Look, ...]  # each after its reference
    pictures: dict[int, Picture]  # by number, of queries and of what they find
    queries: int  # m
    database: int  # n, of the first cell


@dataclass(frozen=True, eq=False)
class Codes:
    """What a cell's evaluation ranked."""

    queries: Words  # (m, W)
    database: Words  # (n, W)
    query_labels: Rows
    database_labels: Rows
    precision: NDArray[np.float64]  # (m,)
    mean: float  # the metric, as `Judge` computes it

    @classmethod
    def of(cls, task: RetrievalTask | ShallowHashingTask) -> "Codes":
        """Encode as the task's evaluation did."""
        encode, database = task.judged()
        test = task.worker.feed.test
        queries = encode(test)
        ranking = Ranking.from_codes(queries, test.labels, database, task.train.labels)
        precision = hamming_metrics.average_precision(ranking)
        labels = (test.labels, task.train.labels)
        return cls(pack(queries), pack(database), *labels, ranking.each(precision), ranking.mean(precision))

    def nearest(self, queries: Queries, count: int = NEAREST) -> tuple[Rows, Rows]:
        """Rows of the database nearest to queries (q,), and their distances: (q, count) each."""
        distances = hamming(self.queries[np.asarray(queries, np.int64), None], self.database)
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        return order, np.take_along_axis(distances, order, 1).astype(np.int64)


def look(run: FinishedRun, cells: Sequence[CellChoice], images: int) -> tuple[Exhibit, list[float]]:
    """Look at cells, each after its reference.

    Args:
        run: that they are of.
        cells: to look at.
        images: drawn of each kind, and as many queries in which variant and reference differ most.

    Returns:
        What there is to draw, and each cell's mAP computed again.

    Raises:
        UserError: see `FinishedRun.task`.
    """
    pictures: dict[int, Picture] = {}
    references: dict[str, Codes] = {}
    looks, values = [], []
    for cell in cells:
        task = run.task(cell)
        assert isinstance(task, RetrievalTask | ShallowHashingTask)
        feed, codes = task.worker.feed, Codes.of(task)
        values.append(codes.mean)
        if cell.is_reference:
            references[cell.variant] = codes
        found = _Finder(task, codes, pictures)
        drawn = draw(len(feed.test), images)
        gains, losses = most_different(references[cell.reference].precision, codes.precision, (images + 1) // 2)
        looks.append(
            Look(
                cell,
                erasures=scenes(task, feed.train, draw(len(feed.train), images)),
                attention=scenes(task, feed.test, drawn),
                drawn=found.ranked(drawn),
                gains=_compared(found, references[cell.reference], gains),
                losses=_compared(found, references[cell.reference], losses),
            )
        )
    return Exhibit(tuple(looks), pictures, len(codes.queries), len(codes.database)), values


def draw(size: int, count: int) -> Rows:
    """Some of 0..size-1, by a fixed seed, in ascending order.

    >>> draw(1000, 3).tolist() == draw(1000, 3).tolist(), len(draw(2, 6))
    (True, 2)
    """
    return np.sort(np.random.default_rng(DRAW).permutation(size)[:count])


def most_different(reference: NDArray[Any], own: NDArray[Any], count: int) -> tuple[Rows, Rows]:
    """The queries where a figure (m,) is farthest above the reference's and where it is farthest below.

    Fewer than `count` where it is above, or below, in fewer; of equal differences the first.

    >>> most_different(np.array([0.5, 0.5, 0.5]), np.array([0.9, 0.5, 0.2]), count=2)
    (array([0]), array([2]))
    """
    difference = own - reference
    above = np.argsort(-difference, kind="stable")[:count]
    below = np.argsort(difference, kind="stable")[:count]
    return above[difference[above] > 0], below[difference[below] < 0]


@torch.no_grad()
def scenes(task: RetrievalTask | ShallowHashingTask, images: ImageSet, rows: Rows) -> tuple[Scene, ...]:
    """Images of a set under a task's network, as it is used."""
    config, side = task.config, task.config.data.side
    taken = images.take(torch.from_numpy(rows), task.worker.device)
    task.network.eval()
    features = task.network.feature_map(normalize(taken))
    heat = activation_map(features, (side, side), align_corners=config.srem.align_corners).cpu().numpy()
    pixels, erases = taken.cpu().numpy(), config.uses_erased
    kept = srem_mask(features, config.srem, side)[:, 0].bool().cpu().numpy() if erases else None
    return tuple(
        Scene(
            Picture(pixels[index], int(images.labels[row])),
            heat[index],
            None if kept is None else kept[index],
            None if kept is None else _erased(pixels[index], kept[index]),
        )
        for index, row in enumerate(rows)
    )


class _Finder:
    """Rankings of queries with their pictures kept.

    Args:
        task: whose images these are.
        codes: of the task.
        pictures: that grow.
    """

    def __init__(self, task: RetrievalTask | ShallowHashingTask, codes: Codes, pictures: dict[int, Picture]) -> None:
        self._test, self._train, self._codes, self._pictures = task.worker.feed.test, task.train, codes, pictures

    def ranked(self, queries: Queries, codes: Codes | None = None) -> tuple[Ranked, ...]:
        """What queries find, by the task's codes or by others of the same images."""
        codes = codes or self._codes
        found = []
        for query, rows, distances in zip(queries, *codes.nearest(queries), strict=True):
            numbers, labels = self._keep(self._train, rows), codes.database_labels[rows]
            nearest = tuple(map(Neighbour, numbers, labels.tolist(), distances.tolist()))
            (number,) = self._keep(self._test, np.array([query]))
            found.append(Ranked(number, int(codes.query_labels[query]), float(codes.precision[query]), nearest))
        return tuple(found)

    def _keep(self, images: ImageSet, rows: Rows) -> list[int]:
        """The numbers of images, whose pictures are kept under them."""
        numbers = rows if images.rows is None else images.rows[rows]
        for row, number in zip(rows, numbers.tolist(), strict=True):
            if number not in self._pictures:
                pixels = images.take(torch.tensor([row]), torch.device("cpu"))[0].numpy()
                self._pictures[number] = Picture(pixels, int(images.labels[row]))
        return numbers.tolist()


def _compared(found: _Finder, reference: Codes, queries: Rows) -> tuple[Compared, ...]:
    return tuple(map(Compared, found.ranked(queries, reference), found.ranked(queries)))


def _erased(pixels: Pixels, kept: NDArray[np.bool_]) -> Pixels:
    """An image whose erased pixels have the colour that normalises to zero."""
    colour = np.round(np.array(MEAN) * 255).astype(np.uint8)
    return np.where(kept[..., None], pixels, colour)
