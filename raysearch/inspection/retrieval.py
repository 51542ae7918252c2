"""Inspect the retrieval networks of a run: attention maps, regions that SREM erases, and nearest images of queries.

Figures 6, 8 and 9 of FCAENet (arXiv 2110.04479) are the model: the nearest images of a query, the erased regions, and
the channel mean of the last features over the image. Departures: the paper picked its images. Here they are drawn by a
fixed seed, and the queries in which two variants differ most in either direction are added. A mask is computed by the
trained network in evaluation mode from the unchanged image. In training it was computed by the network of that step
from a random view.

Legend: `m` queries, `n` database items, `q` some of the queries, `W` words of a packed code, `H` the image side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from raysearch.data.feed import MEAN, ImageSet, normalize
from raysearch.inspection import cell_choice, finished_run
from raysearch.models.hashing.packed import Words, hamming, pack
from raysearch.models.srem import activation_map
from raysearch.tasks.metrics import Ranking, hamming_metrics
from raysearch.tasks.retrieval.shallow_task import ShallowHashingTask
from raysearch.tasks.retrieval.task import RetrievalTask
from raysearch.tasks.retrieval.views import srem_mask

NEAREST = 10  # images per query, as in the paper's figure 6
DRAW_SEED = 0  # the same images in every gallery of a data set

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]
Queries = Sequence[int] | Rows


class Picture(NamedTuple):
    """An image and its class."""

    pixels: Pixels  # (H, H, 3)
    label: int


class InspectedImage(NamedTuple):
    """An image with a network's attention map and erasure mask."""

    picture: Picture
    heat: NDArray[np.float32]  # (H, H) in [0, 1], equations 3 and 4
    kept: NDArray[np.bool_] | None  # (H, H), False where SREM erases; None if the cell was trained without erasing
    erased: Pixels | None  # (H, H, 3), as the network receives it: erased pixels have the mean color


class Neighbor(NamedTuple):
    """A database image near a query."""

    number: int  # of its picture
    label: int
    distance: int  # in bits


class RankedQuery(NamedTuple):
    """A query and its nearest database images under one network."""

    number: int  # of the query's picture
    label: int
    precision: float  # average precision, expected over ties
    nearest: tuple[Neighbor, ...]  # equal distances keep the order of the database


class QueryComparison(NamedTuple):
    """A query under the reference and under the variant."""

    reference: RankedQuery
    variant: RankedQuery


class InspectedCell(NamedTuple):
    """The images and queries of one cell."""

    cell: cell_choice.CellChoice
    erasures: tuple[InspectedImage, ...]  # of drawn database images
    attention: tuple[InspectedImage, ...]  # of the drawn queries
    drawn: tuple[RankedQuery, ...]
    gains: tuple[QueryComparison, ...]  # queries whose average precision exceeds the reference's most
    losses: tuple[QueryComparison, ...]  # queries whose average precision falls below it most


class RetrievalInspection(NamedTuple):
    """The inspected cells of a run, with the pictures that they refer to by number."""

    cells: tuple[InspectedCell, ...]  # each after its reference
    pictures: dict[int, Picture]  # by number, of queries and of their nearest images
    queries: int  # m
    database: int  # n, of the last cell


@dataclass(frozen=True, eq=False)
class Codes:
    """The hash codes that a cell's evaluation ranked."""

    queries: Words  # (m, W)
    database: Words  # (n, W)
    query_labels: Rows
    database_labels: Rows
    precision: NDArray[np.float64]  # (m,)
    mean: float  # the cell's mAP, computed as in its evaluation

    @classmethod
    def of_task(cls, task: RetrievalTask | ShallowHashingTask) -> "Codes":
        """Encode the images as the task's evaluation did."""
        encode, database = task.judged()
        test = task.worker.feed.test
        queries = encode(test)
        ranking = Ranking.from_codes(queries, test.labels, database, task.train.labels)
        precision = hamming_metrics.average_precision(ranking)
        return cls(
            queries=pack(queries),
            database=pack(database),
            query_labels=test.labels,
            database_labels=task.train.labels,
            precision=ranking.each(precision),
            mean=ranking.mean(precision),
        )

    def nearest(self, queries: Queries, count: int = NEAREST) -> tuple[Rows, Rows]:
        """Return the database rows nearest to queries (q,), and their distances: (q, count) each."""
        distances = hamming(self.queries[np.asarray(queries, np.int64), None], self.database)
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        return order, np.take_along_axis(distances, order, 1).astype(np.int64)


def inspect_cells(
    run: finished_run.FinishedRun, cells: Sequence[cell_choice.CellChoice], images: int
) -> tuple[RetrievalInspection, list[float]]:
    """Inspect cells of a run, each after its reference.

    Args:
        run: an open run.
        cells: to inspect.
        images: number of images drawn of each kind, and of queries in which variant and reference differ most.

    Returns:
        The inspection, and each cell's mAP computed again.

    Raises:
        UserError: a network cannot be rebuilt; see `FinishedRun.task`.
    """
    pictures: dict[int, Picture] = {}
    references: dict[str, Codes] = {}
    inspected = []
    values = []
    for cell in cells:
        task = run.task(cell)
        assert isinstance(task, RetrievalTask | ShallowHashingTask)
        feed = task.worker.feed
        codes = Codes.of_task(task)
        values.append(codes.mean)
        if cell.is_reference:
            references[cell.variant] = codes
        reference = references[cell.reference]
        ranker = _QueryRanker(task, codes, pictures)
        drawn = draw_rows(len(feed.test), images)
        gains, losses = most_different_queries(reference.precision, codes.precision, (images + 1) // 2)
        inspected.append(
            InspectedCell(
                cell,
                erasures=inspect_images(task, feed.train, draw_rows(len(feed.train), images)),
                attention=inspect_images(task, feed.test, drawn),
                drawn=ranker.rank(drawn),
                gains=ranker.compare(gains, reference),
                losses=ranker.compare(losses, reference),
            )
        )
    return RetrievalInspection(tuple(inspected), pictures, len(codes.queries), len(codes.database)), values


def draw_rows(size: int, count: int) -> Rows:
    """Draw some of 0..size-1 by a fixed seed, in ascending order.

    >>> draw_rows(1000, 3).tolist() == draw_rows(1000, 3).tolist(), len(draw_rows(2, 6))
    (True, 2)
    """
    return np.sort(np.random.default_rng(DRAW_SEED).permutation(size)[:count])


def most_different_queries(reference: NDArray[Any], variant: NDArray[Any], count: int) -> tuple[Rows, Rows]:
    """Find the queries where the variant's value (m,) is farthest above the reference's, and farthest below.

    Fewer than `count` are returned if fewer are above, or below. Of equal differences the first queries are returned.

    >>> most_different_queries(np.array([0.5, 0.5, 0.5]), np.array([0.9, 0.5, 0.2]), count=2)
    (array([0]), array([2]))
    """
    difference = variant - reference
    above = np.argsort(-difference, kind="stable")[:count]
    below = np.argsort(difference, kind="stable")[:count]
    return above[difference[above] > 0], below[difference[below] < 0]


@torch.no_grad()
def inspect_images(
    task: RetrievalTask | ShallowHashingTask, images: ImageSet, rows: Rows
) -> tuple[InspectedImage, ...]:
    """Pass the images at rows through a task's network in evaluation mode."""
    config = task.config
    side = config.data.side
    taken = images.take(torch.from_numpy(rows), task.worker.device)
    task.network.eval()
    features = task.network.feature_map(normalize(taken))
    heat = activation_map(features, (side, side), align_corners=config.srem.align_corners).cpu().numpy()
    pixels = taken.cpu().numpy()
    kept = srem_mask(features, config.srem, side)[:, 0].bool().cpu().numpy() if config.uses_erased else None
    return tuple(
        InspectedImage(
            Picture(pixels[index], int(images.labels[row])),
            heat[index],
            None if kept is None else kept[index],
            None if kept is None else _erase(pixels[index], kept[index]),
        )
        for index, row in enumerate(rows)
    )


class _QueryRanker:
    """Rank the database for queries, and collect the pictures of both.

    Args:
        task: the task that the images belong to.
        codes: the codes of the task.
        pictures: collected by number; grows with each call.
    """

    def __init__(self, task: RetrievalTask | ShallowHashingTask, codes: Codes, pictures: dict[int, Picture]) -> None:
        self._test = task.worker.feed.test
        self._train = task.train
        self._codes = codes
        self._pictures = pictures

    def rank(self, queries: Queries, codes: Codes | None = None) -> tuple[RankedQuery, ...]:
        """Rank the database for queries by the task's codes, or by other codes of the same images."""
        codes = codes or self._codes
        ranked = []
        for query, rows, distances in zip(queries, *codes.nearest(queries), strict=True):
            numbers = self._collect(self._train, rows)
            labels = codes.database_labels[rows]
            nearest = tuple(map(Neighbor, numbers, labels.tolist(), distances.tolist()))
            (number,) = self._collect(self._test, np.array([query]))
            precision = float(codes.precision[query])
            ranked.append(RankedQuery(number, int(codes.query_labels[query]), precision, nearest))
        return tuple(ranked)

    def compare(self, queries: Rows, reference: Codes) -> tuple[QueryComparison, ...]:
        """Rank the database for queries by the reference's codes and by the task's."""
        return tuple(map(QueryComparison, self.rank(queries, reference), self.rank(queries)))

    def _collect(self, images: ImageSet, rows: Rows) -> list[int]:
        """Return the numbers of images, and keep their pictures."""
        numbers = rows if images.rows is None else images.rows[rows]
        for row, number in zip(rows, numbers.tolist(), strict=True):
            if number not in self._pictures:
                pixels = images.take(torch.tensor([row]), torch.device("cpu"))[0].numpy()
                self._pictures[number] = Picture(pixels, int(images.labels[row]))
        return numbers.tolist()


def _erase(pixels: Pixels, kept: NDArray[np.bool_]) -> Pixels:
    """Give erased pixels the color that normalizes to zero."""
    color = np.round(np.array(MEAN) * 255).astype(np.uint8)
    return np.where(kept[..., None], pixels, color)
