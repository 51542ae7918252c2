"""Inspect the few-shot networks of a run: predicted episodes, and pairs of images behind some predictions.

Episodes are shown in order, from episode 0 on. The episodes in which a variant and its reference differ most are shown
too, and are labeled as such. Pairs come from episode 0: for some classes, the first query with the first support of
its own class, and with the first support of the wrong class that scores highest. Nothing is chosen for its looks.

Variants can be shown side by side if they met the same episodes. Such variants form an `EpisodeGroup`.

Legend: `W` ways, `K` shots, `Q` queries of a class, `S` side of an image in pixels.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raysearch.data.feed import ImageSet
from raysearch.inspection import finished_run, image_pairs
from raysearch.inspection.cell_choice import CellChoice
from raysearch.inspection.episodes import (
    EpisodeForward,
    EpisodePredictions,
    changed_episodes,
    inspect_episode,
    most_different_episodes,
)
from raysearch.inspection.planes import Plane, episode_planes
from raysearch.models.fewshot import EpisodicNetwork
from raysearch.runs import variant_config
from raysearch.studies.analysis import paired_episodes
from raysearch.studies.configs import FewshotConfig
from raysearch.tasks.fewshot.task import FewshotTask

MIN_CHECKED = 10  # episodes that are computed again at least


@dataclass(frozen=True)
class ImagePair:
    """A query and a support that it is compared with."""

    support: np.ndarray  # (S, S, 3) uint8
    query: np.ndarray  # (S, S, 3) uint8
    classes: tuple[int, int]  # labels of the support's and the query's class
    score: float  # of the query for the support's class
    attention: tuple[image_pairs.CrossAttention, ...]
    matching: image_pairs.Matching | None

    @property
    def same_class(self) -> bool:
        """Whether the support is of the query's class."""
        return self.classes[0] == self.classes[1]


@dataclass(frozen=True)
class InspectedCell:
    """A cell with its predictions, image pairs and feature planes."""

    cell: CellChoice
    predictions: Mapping[int, EpisodePredictions]  # by episode
    recorded: Sequence[int]  # correct queries of every episode, from the cell's evaluation
    pairs: tuple[ImagePair, ...]
    planes: tuple[Plane, Plane | None]  # episode 0 before and after images are compared

    @property
    def changed(self) -> dict[int, tuple[int, int]]:
        """Episode -> (correct queries now, on record), for each episode that differs from the record."""
        return changed_episodes(self.predictions.values(), self.recorded)


@dataclass(frozen=True)
class DifferingEpisode:
    """An episode in which a variant and its reference differ most."""

    index: int
    variant: str
    reference: str
    delta: int  # correct queries of the variant minus those of the reference


@dataclass(frozen=True)
class EpisodeGroup:
    """Cells that met the same episodes."""

    title: str  # "5-way, 1-shot, 15 queries per class"
    cells: tuple[InspectedCell, ...]
    first: tuple[int, ...]  # the first episodes
    differing: tuple[DifferingEpisode, ...]
    pictures: Mapping[int, np.ndarray]  # (S, S, 3) uint8 by row of the test split


def inspect_cells(
    run: finished_run.FinishedRun, cells: Sequence[CellChoice], images: int
) -> tuple[list[EpisodeGroup], list[float]]:
    """Inspect the networks of a run.

    Args:
        run: an open run.
        cells: to show.
        images: number of image pairs per network. A third as many episodes are shown, at least one.

    Returns:
        The groups, and each cell's accuracy with the episodes that were computed again in place of their record. It
        equals the stored accuracy if no episode differs.
    """
    groups: list[EpisodeGroup] = []
    accuracies: dict[str, float] = {}
    for members in _group_by_episodes(run, cells):
        group = _inspect_group(run, members, images)
        groups.append(group)
        accuracies |= {inspected.cell.cell: recomputed_accuracy(inspected) for inspected in group.cells}
    return groups, [accuracies[cell.cell] for cell in cells]


def recomputed_accuracy(inspected: InspectedCell) -> float:
    """Return a cell's accuracy with the episodes that were computed again in place of their record."""
    queries = inspected.predictions[0].correct.size
    difference = sum(now - before for now, before in inspected.changed.values())
    return inspected.cell.value + difference / (queries * len(inspected.recorded))


def _group_by_episodes(run: finished_run.FinishedRun, cells: Iterable[CellChoice]) -> list[list[CellChoice]]:
    groups: dict[tuple, list[CellChoice]] = {}
    for cell in cells:
        config = _config(run, cell)
        episodes = config.episodes
        key = (episodes.ways, episodes.shots, episodes.queries, episodes.seed, config.images.split)
        groups.setdefault(key, []).append(cell)
    return list(groups.values())


def _inspect_group(run: finished_run.FinishedRun, cells: list[CellChoice], images: int) -> EpisodeGroup:
    recorded = {cell.variant: _recorded(run, cell) for cell in cells}
    first = tuple(range(min(max(1, images // 3), *map(len, recorded.values()))))
    differing = tuple(
        DifferingEpisode(index, cell.variant, cell.reference, delta)
        for cell in cells
        if cell.reference != cell.variant and cell.reference in recorded
        for direction in most_different_episodes(recorded[cell.variant], recorded[cell.reference], count=1)
        for index, delta in direction
    )
    inspected = tuple(
        _inspect_cell(run, cell, recorded[cell.variant], images, [*first, *_differing_of(cell, differing)])
        for cell in cells
    )
    drawn = {*first, *(episode.index for episode in differing)}
    predictions = [prediction for cell in inspected for index, prediction in cell.predictions.items() if index in drawn]
    rows = np.unique(
        np.concatenate([rows.ravel() for episode in predictions for rows in (episode.support, episode.query)])
    )
    config = _config(run, cells[0])
    pictures = dict(zip(rows.tolist(), _take(run.feed(config).test, rows), strict=True))
    return EpisodeGroup(_title(config), inspected, first, differing, pictures)


def _differing_of(cell: CellChoice, differing: Iterable[DifferingEpisode]) -> list[int]:
    """Return the differing episodes that involve a cell, as the variant or as the reference."""
    return [episode.index for episode in differing if cell.variant in (episode.variant, episode.reference)]


def _inspect_cell(
    run: finished_run.FinishedRun, cell: CellChoice, recorded: Sequence[int], images: int, shown: list[int]
) -> InspectedCell:
    task = run.task(cell)
    assert isinstance(task, FewshotTask)
    network, episodes = task.judged()
    test = task.worker.feed.test
    precision = task.config.train.precision
    first = inspect_episode(network, test, episodes, 0, run.device, precision)
    predictions = {0: first.predictions}
    for index in sorted({*shown, *range(min(MIN_CHECKED, len(recorded)))} - {0}):
        predictions[index] = inspect_episode(network, test, episodes, index, run.device, precision).predictions
    pairs = tuple(
        _inspect_pair(network, first, test, query_way, support_way)
        for query_way, support_way in _pair_ways(first.predictions, images)
    )
    return InspectedCell(cell, predictions, recorded, pairs, episode_planes(network, first))


def _pair_ways(predictions: EpisodePredictions, count: int) -> list[tuple[int, int]]:
    """Return (way of the query, way of the support) of each pair: for the first ways, the same way and the rival."""
    ways = range(min(len(predictions.support), max(1, count // 2)))
    return [(way, support_way) for way in ways for support_way in (way, predictions.rival(way, 0))]


def _inspect_pair(
    network: EpisodicNetwork, episode: EpisodeForward, images: ImageSet, query_way: int, support_way: int
) -> ImagePair:
    """Inspect the first query of one way with the first support of another."""
    predictions = episode.predictions
    support = [tap[support_way, 0] for tap in episode.support]
    query = [tap[query_way, 0] for tap in episode.query]
    helix = image_pairs.find_helix(network.head)
    attention: tuple[image_pairs.CrossAttention, ...] = ()
    if helix is not None:
        attention = image_pairs.pair_attention(helix, support[0], query[0], len(helix.layers) - 1)
    metric = image_pairs.find_metric(network.head)
    matching = None
    if metric is not None:
        matching = image_pairs.match_pixels(metric, *image_pairs.compared_maps(network.head, support, query))
    pixels = _take(images, np.array([predictions.support[support_way, 0], predictions.query[query_way, 0]]))
    return ImagePair(
        support=pixels[0],
        query=pixels[1],
        classes=(int(predictions.classes[support_way]), int(predictions.classes[query_way])),
        score=float(predictions.scores[query_way, 0, support_way]),
        attention=attention,
        matching=matching,
    )


def _recorded(run: finished_run.FinishedRun, cell: CellChoice) -> list[int]:
    row = next(row for row in run.rows if row["cell"] == cell.cell)
    return json.loads(row[paired_episodes.COLUMN])


def _title(config: FewshotConfig) -> str:
    episodes = config.episodes
    return f"{episodes.ways}-way, {episodes.shots}-shot, {episodes.queries} queries per class"


def _take(images: ImageSet, rows: np.ndarray) -> np.ndarray:
    """Return the unchanged images at rows: (n, S, S, 3) uint8."""
    return images.pixels[rows if images.rows is None else images.rows[rows]]


def _config(run: finished_run.FinishedRun, cell: CellChoice) -> FewshotConfig:
    config = variant_config.config_of_variant(run.record, cell.variant, {})
    assert isinstance(config, FewshotConfig)
    return config
