"""Marginal means of a crossed design: what a factor does when the others are averaged over, and how two work together.

Box, Hunter and Hunter, "Statistics for Experimenters", 2nd edition, chapter 5 (factorial designs). A seed is a block:
its cells are averaged first, and Student's t interval is taken over the seeds, so cells of one seed are not counted as
independent. Two departures, because a cell may fail: a setting of the other factors counts only where every point has
been tried in it, and a seed only where it finished all that is averaged; otherwise points would be means of different
things, and their difference that of the settings or of the seeds.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysearch.studies.analysis import statistics

Levels = tuple[Any, ...]  # hashable


@dataclass(frozen=True)
class Point:
    """A marginal mean; its interval is None with fewer than three seeds."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Marginal:
    """Marginal means over some factors and what they were averaged from."""

    points: Mapping[Levels, Point]  # levels of the kept factors -> mean, in the order of the cells
    seeds: tuple[int, ...]  # that finished everything that is averaged
    settings: int  # of the other factors, averaged over
    left_out: int  # settings of the other factors in which a point has no finished cell


def marginal(cells: Mapping[Levels, Mapping[int, float]], kept: Sequence[int]) -> Marginal:
    """Means at every combination of the kept factors' levels, the other factors averaged over with equal weight.

    Args:
        cells: levels, one a factor -> metric by seed, of finished cells.
        kept: positions of the factors that are not averaged over: one for a main effect, two for an interaction.

    Returns:
        Points with at least one seed; none where no seed finished enough.

    >>> cells = {("a", 1): {0: 0.0, 1: 0.2}, ("a", 2): {0: 1.0, 1: 1.2}, ("b", 1): {0: 3.0}, ("b", 2): {0: 5.0}}
    >>> found = marginal(cells, [0])
    >>> [(levels, point.mean) for levels, point in found.points.items()], found.seeds, found.settings
    ([(('a',), 0.5), (('b',), 4.0)], (0,), 2)
    """
    own = {levels: seeds for levels, seeds in cells.items() if seeds}
    points = list(dict.fromkeys(_at(levels, kept) for levels in own))
    others = list(dict.fromkeys(_rest(levels, kept) for levels in cells))
    where = {(_at(levels, kept), _rest(levels, kept)): seeds for levels, seeds in own.items()}
    settings = [rest for rest in others if points and all((point, rest) in where for point in points)]
    used = [where[pair] for pair in itertools.product(points, settings)]
    seeds = tuple(sorted(set.intersection(*(set(one) for one in used)))) if used else ()
    found = {}
    for point in points if seeds else ():
        blocks = [math.fsum(where[point, rest][seed] for rest in settings) / len(settings) for seed in seeds]
        found[point] = Point(math.fsum(blocks) / len(blocks), *statistics.interval(blocks))
    return Marginal(found, seeds, len(settings), len(others) - len(settings))


def _at(levels: Levels, kept: Sequence[int]) -> Levels:
    return tuple(levels[position] for position in kept)


def _rest(levels: Levels, kept: Sequence[int]) -> Levels:
    return tuple(level for position, level in enumerate(levels) if position not in kept)
