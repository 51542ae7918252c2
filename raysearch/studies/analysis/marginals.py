"""Marginal means of a crossed design: the effect of a factor averaged over the others, and how two factors interact.

Box, Hunter and Hunter, "Statistics for Experimenters", 2nd edition, chapter 5 (factorial designs). A seed is a block:
its cells are averaged first, and Student's t interval is taken over the seeds, so cells of one seed are not counted as
independent. Cells may fail, so there are two departures. A setting of the other factors counts only if every point was
tried in it. A seed counts only if it finished everything that is averaged. Otherwise points would be means over
different settings or seeds, and so would their difference.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysearch.studies.analysis import t_tests

Levels = tuple[Any, ...]  # hashable


@dataclass(frozen=True)
class Point:
    """A marginal mean. Its interval is None with fewer than three seeds, or the same mean with every seed."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Marginal:
    """Marginal means over some factors, and what they were averaged from."""

    points: Mapping[Levels, Point]  # levels of the kept factors -> mean, in the order of the cells
    seeds: tuple[int, ...]  # that finished everything that is averaged
    settings: int  # of the other factors, averaged over
    left_out: int  # settings of the other factors in which a point has no finished cell


def marginal(cells: Mapping[Levels, Mapping[int, float]], kept: Sequence[int], step: float = 0.0) -> Marginal:
    """Return the mean at each combination of the kept factors' levels; other factors are averaged with equal weight.

    Args:
        cells: levels, one per factor -> metric by seed, of finished cells.
        kept: positions of the factors that are not averaged over: one for a main effect, two for an interaction.
        step: of the metric, see `statistics.metric_step`; the mean of n cells has the rounding of one, over n.

    Returns:
        Points with at least one seed; none where no seed finished enough.

    >>> cells = {("a", 1): {0: 0.0, 1: 0.2}, ("a", 2): {0: 1.0, 1: 1.2}, ("b", 1): {0: 3.0}, ("b", 2): {0: 5.0}}
    >>> effect = marginal(cells, [0])
    >>> [(levels, point.mean) for levels, point in effect.points.items()], effect.seeds, effect.settings
    ([(('a',), 0.5), (('b',), 4.0)], (0,), 2)
    """
    finished = {levels: seeds for levels, seeds in cells.items() if seeds}
    point_levels = list(dict.fromkeys(_kept_levels(levels, kept) for levels in finished))
    other_levels = list(dict.fromkeys(_other_levels(levels, kept) for levels in cells))
    by_levels = {(_kept_levels(levels, kept), _other_levels(levels, kept)): seeds for levels, seeds in finished.items()}
    settings = [
        others
        for others in other_levels
        if point_levels and all((levels, others) in by_levels for levels in point_levels)
    ]
    used = [by_levels[pair] for pair in itertools.product(point_levels, settings)]
    seeds = tuple(sorted(set.intersection(*(set(metric_by_seed) for metric_by_seed in used)))) if used else ()
    points = {}
    for levels in point_levels if seeds else ():
        blocks = [math.fsum(by_levels[levels, others][seed] for others in settings) / len(settings) for seed in seeds]
        rounding = step**2 / 12 / len(settings)
        points[levels] = Point(math.fsum(blocks) / len(blocks), *t_tests.interval(blocks, rounding))
    return Marginal(points, seeds, len(settings), len(other_levels) - len(settings))


def _kept_levels(levels: Levels, kept: Sequence[int]) -> Levels:
    return tuple(levels[position] for position in kept)


def _other_levels(levels: Levels, kept: Sequence[int]) -> Levels:
    return tuple(level for position, level in enumerate(levels) if position not in kept)
