"""What a run's few-shot networks have to show: episodes with their answers, and the pairs of images behind some.

Episodes are shown by their numbers, from the first one on, and beside them, labelled as such, those in which a variant
and its reference differ most. Pairs are of the first episode: of some classes the first query with the first support of
its own class and of the wrong class that it resembles most. Nothing is chosen for how it looks.

Variants can be shown side by side where they met the same episodes: those are a `Group`.

Legend: `W` ways, `K` shots, `Q` queries of a class.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raysearch.data.feed import ImageSet
from raysearch.inspection.choosing import CellChoice
from raysearch.inspection.cross_attention import Looks, helix_of, looks
from raysearch.inspection.episodes import Answers, EpisodeForward, different, most_different, see
from raysearch.inspection.loading import FinishedRun
from raysearch.inspection.matched_pixels import Matching, compared_maps, matching, metric_of
from raysearch.inspection.planes import Plane, planes
from raysearch.models.fewshot import EpisodicNetwork
from raysearch.runs import variant_config
from raysearch.studies.analysis import paired_episodes
from raysearch.studies.configs import FewshotConfig
from raysearch.tasks.fewshot.task import FewshotTask

CHECKED = 10  # episodes that are computed again at least


@dataclass(frozen=True)
class Pair:
    """A query, and a support that it is compared with."""

    support: np.ndarray  # (side, side, 3) uint8
    query: np.ndarray  # likewise
    classes: tuple[int, int]  # labels of the support's and the query's class
    score: float  # of the query for the support's class
    looks: tuple[Looks, ...]
    matching: Matching | None

    @property
    def own(self) -> bool:
        """Whether both are of one class."""
        return self.classes[0] == self.classes[1]


@dataclass(frozen=True)
class Shown:
    """A cell with what there is of it."""

    cell: CellChoice
    answers: Mapping[int, Answers]  # by episode
    recorded: Sequence[int]  # queries named right in every episode, as its evaluation gave them
    pairs: tuple[Pair, ...]
    planes: tuple[Plane, Plane | None]  # before and after, of the first episode

    @property
    def changed(self) -> dict[int, tuple[int, int]]:
        """Of each episode that did not come out as it is on record: queries named right here, and on record."""
        return different(self.answers.values(), self.recorded)


@dataclass(frozen=True)
class Differing:
    """An episode in which a variant and its reference differ most."""

    index: int
    variant: str
    reference: str
    delta: int  # queries that the variant named right more than the reference


@dataclass(frozen=True)
class Group:
    """Cells that met the same episodes."""

    episodes: str  # what they are
    shown: tuple[Shown, ...]
    first: tuple[int, ...]  # episodes by their numbers
    differing: tuple[Differing, ...]
    pictures: Mapping[int, np.ndarray]  # (side, side, 3) uint8 by row of the test split


def look(run: FinishedRun, cells: Sequence[CellChoice], images: int) -> tuple[list[Group], list[float]]:
    """Look at the networks of a run.

    Args:
        run: opened.
        cells: that are to be shown.
        images: pairs of each network; a third as many episodes, one at least.

    Returns:
        The groups, and of each cell its accuracy with the episodes that were computed again in place of what is on
        record of them: the stored one exactly, where none of them differs.
    """
    groups: list[Group] = []
    values: dict[str, float] = {}
    for members in _together(run, cells):
        group = _group(run, members, images)
        groups.append(group)
        values |= {one.cell.cell: accuracy_again(one) for one in group.shown}
    return groups, [values[cell.cell] for cell in cells]


def accuracy_again(shown: Shown) -> float:
    """The cell's accuracy, with what was computed here in place of what is on record."""
    queries = shown.answers[0].right.size
    changed = sum(here - recorded for here, recorded in shown.changed.values())
    return shown.cell.value + changed / (queries * len(shown.recorded))


def _together(run: FinishedRun, cells: Iterable[CellChoice]) -> list[list[CellChoice]]:
    """Cells by the episodes that they met."""
    groups: dict[tuple, list[CellChoice]] = {}
    for cell in cells:
        asked, split = _config(run, cell).episodes, _config(run, cell).images.split
        groups.setdefault((asked.ways, asked.shots, asked.queries, asked.seed, split), []).append(cell)
    return list(groups.values())


def _group(run: FinishedRun, cells: list[CellChoice], images: int) -> Group:
    recorded = {cell.variant: _recorded(run, cell) for cell in cells}
    first = tuple(range(min(max(1, images // 3), *map(len, recorded.values()))))
    differing = tuple(
        Differing(index, cell.variant, cell.reference, delta)
        for cell in cells
        if cell.reference != cell.variant and cell.reference in recorded
        for side in most_different(recorded[cell.variant], recorded[cell.reference], count=1)
        for index, delta in side
    )
    shown = tuple(_shown(run, cell, recorded[cell.variant], images, [*first, *_own(cell, differing)]) for cell in cells)
    config, drawn = _config(run, cells[0]), {*first, *(one.index for one in differing)}
    sides = [(answers.support, answers.query) for one in shown for at, answers in one.answers.items() if at in drawn]
    rows = np.unique(np.concatenate([rows.ravel() for both in sides for rows in both]))
    pictures = dict(zip(rows.tolist(), _take(run.feed(config).test, rows), strict=True))
    return Group(_named(config), shown, first, differing, pictures)


def _own(cell: CellChoice, differing: Iterable[Differing]) -> list[int]:
    """The episodes that a cell is shown in because it, or who is compared with it, does differently there."""
    return [one.index for one in differing if cell.variant in (one.variant, one.reference)]


def _shown(run: FinishedRun, cell: CellChoice, recorded: Sequence[int], images: int, wanted: list[int]) -> Shown:
    task = run.task(cell)
    assert isinstance(task, FewshotTask)
    network, drawn = task.judged()
    test = task.worker.feed.test
    seen = see(network, test, drawn, 0, run.device)
    others = {*wanted, *range(min(CHECKED, len(recorded)))} - {0}
    answers = {0: seen.answers} | {at: see(network, test, drawn, at, run.device).answers for at in sorted(others)}
    pairs = tuple(_pair(network, seen, test, *places) for places in _places(seen.answers, images))
    return Shown(cell, answers, recorded, pairs, planes(network, seen))


def _places(answers: Answers, count: int) -> list[tuple[int, int]]:
    """Of which (way of the query, way of the support) the pairs are: of the first classes their own and the rival."""
    ways = range(min(len(answers.support), max(1, count // 2)))
    return [(way, other) for way in ways for other in (way, answers.rival(way, 0))]


def _pair(network: EpisodicNetwork, seen: EpisodeForward, images: ImageSet, of_query: int, of_support: int) -> Pair:
    """The first query of a class and the first support of another."""
    answers, comparer = seen.answers, network.head
    support, query = [one[of_support, 0] for one in seen.support], [one[of_query, 0] for one in seen.query]
    helix, metric = helix_of(comparer), metric_of(comparer)
    pixels = _take(images, np.array([answers.support[of_support, 0], answers.query[of_query, 0]]))
    return Pair(
        support=pixels[0],
        query=pixels[1],
        classes=(int(answers.classes[of_support]), int(answers.classes[of_query])),
        score=float(answers.scores[of_query, 0, of_support]),
        looks=looks(helix, support[0], query[0], len(helix.layers) - 1) if helix is not None else (),
        matching=matching(metric, *compared_maps(comparer, support, query)) if metric is not None else None,
    )


def _recorded(run: FinishedRun, cell: CellChoice) -> list[int]:
    row = next(row for row in run.rows if row["cell"] == cell.cell)
    return json.loads(row[paired_episodes.COLUMN])


def _named(config: FewshotConfig) -> str:
    asked = config.episodes
    return f"{asked.ways}-way, {asked.shots}-shot, {asked.queries} queries a class"


def _take(images: ImageSet, rows: np.ndarray) -> np.ndarray:
    """The images of rows as they are: (n, side, side, 3) uint8."""
    return images.pixels[rows if images.rows is None else images.rows[rows]]


def _config(run: FinishedRun, cell: CellChoice) -> FewshotConfig:
    config = variant_config.config_of_variant(run.record, cell.variant, {})
    assert isinstance(config, FewshotConfig)
    return config
