"""Simulated searches: their cases, their noise, and the order in which a path takes the changes."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from adaptive import rules

from raysearch.studies.analysis import change_path

CHANGES = 8
CHOOSING = 3  # seeds, as `explanation_plan.CHOOSING_SEEDS`
LEVEL = 0.05
SPREAD = 0.01  # standard deviation of a paired difference
NAMES = [f"change {number}" for number in range(CHANGES)]


@dataclass(frozen=True)
class Case:
    """A simulated search.

    Attributes:
        name: in the results.
        effects: of the changes, in standard deviations of a paired difference.
        judging: number of seeds that judge.
        margin: of a gain that does not matter, in the same unit.
    """

    name: str
    effects: tuple[float, ...]
    judging: int
    margin: float | None = None


NOTHING = (0.0,) * CHANGES
THREE = (8.0, 6.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0)
CASES = (
    Case("nothing matters, 5 seeds", NOTHING, 5),
    Case("nothing matters, 10 seeds", NOTHING, 10),
    Case("three matter, 5 seeds", THREE, 5),
    Case("three matter, 10 seeds, margin 1.5", THREE, 10, 1.5),
    Case("small effects, 10 seeds", (1.0, 0.7, 0.5, 0.3, -0.3, -0.5, 0.0, 0.0), 10),
)

RACED_CASES = (
    Case("race, nothing matters", NOTHING, rules.LOOKS[-1]),
    Case("race, nothing matters, margin 1.5", NOTHING, rules.LOOKS[-1], 1.5),
    Case("race, three matter", THREE, rules.LOOKS[-1]),
    Case("race, three matter, margin 1.5", THREE, rules.LOOKS[-1], 1.5),
    Case("race, small effects", (1.0, 0.7, 0.5, 0.3, -0.3, -0.5, 0.0, 0.0), rules.LOOKS[-1]),
)


@dataclass(frozen=True)
class Draws:
    """The noise of simulated explanations, in the unit of the metric.

    Attributes:
        candidates: of the configs that meet at each step (explanations, steps, changes, choosing seeds).
        start: of the reference (explanations, choosing seeds).
        path: of the configs of the path (explanations, steps + 1, judging seeds).
        left_out: of the best config without each change but the last of the path (explanations, steps - 1, judging
            seeds).
    """

    candidates: np.ndarray
    start: np.ndarray
    path: np.ndarray
    left_out: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """What is claimed; the last axis are the steps of the path, then the changes that are left out but the last.

    Attributes:
        order: number of the change at each step (explanations, steps).
        verdicts: 1 better, -1 worse, 0 undecided, 2 within the margin.
        low: bound of the interval.
        high: bound of the interval.
        truth: the true effect.
    """

    order: np.ndarray
    verdicts: np.ndarray
    low: np.ndarray
    high: np.ndarray
    truth: np.ndarray


def draw(case: Case, number: int, seed: int = 0) -> Draws:
    """Draw the noise of a number of explanations."""
    rng = np.random.default_rng([seed, (*CASES, *RACED_CASES).index(case)])
    noise = SPREAD / np.sqrt(2)
    return Draws(
        candidates=rng.normal(0, noise, (number, CHANGES, CHANGES, CHOOSING)),
        start=rng.normal(0, noise, (number, CHOOSING)),
        path=rng.normal(0, noise, (number, CHANGES + 1, case.judging)),
        left_out=rng.normal(0, noise, (number, CHANGES - 1, case.judging)),
    )


def choose_order(candidates: np.ndarray, start: np.ndarray, effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of each path, and the differences of its steps on the seeds that chose it.

    Args:
        candidates: see `Draws`.
        start: see `Draws`.
        effects: of the changes, in the unit of the metric.
    """
    number = len(start)
    rows = np.arange(number)
    taken = np.zeros((number, CHANGES), dtype=bool)
    current = start
    order = []
    differences = []
    for step in range(CHANGES):
        gains = effects[None, :, None] + candidates[:, step] - current[:, None]
        means = np.where(taken, -np.inf, gains.mean(axis=2))
        chosen = means.argmax(axis=1)
        order.append(chosen)
        differences.append(gains[rows, chosen])
        current = candidates[rows, step, chosen]
        taken[rows, chosen] = True
    return np.stack(order, axis=1), np.stack(differences, axis=1)


def shipped_cells(case: Case, draws: Draws, index: int) -> tuple[list[str], pa.Table, list[tuple[str, str]]]:
    """Return the path of a simulated search by raysearch, the cells that judge it, and the pairs of its comparisons."""
    effects = dict(zip(NAMES, SPREAD * np.array(case.effects), strict=True))

    def _values(made: frozenset[str], noise: np.ndarray, first: int) -> dict[int, float]:
        level = 0.5 + sum(effects[name] for name in made)
        return {first + position: level + value for position, value in enumerate(noise.tolist())}

    path: list[str] = []
    current = draws.start[index]
    for step in range(CHANGES):
        noises = dict(zip(NAMES, draws.candidates[index, step], strict=True))
        made = frozenset(path)
        candidates = {name: _values(made | {name}, noises[name], 0) for name in NAMES if name not in made}
        path.append(change_path.choose_next(_values(made, current, 0), candidates))
        current = noises[path[-1]]
    configs = {frozenset(path[:length]): draws.path[index, length] for length in range(CHANGES + 1)}
    best = frozenset(path)
    configs |= {best - {name}: draws.left_out[index, place] for place, name in enumerate(path[:-1])}
    rows = [
        {"variant": str(sorted(made)), "seed": seed, "status": "finished", "config": str(sorted(made)), "map": value}
        for made, noise in configs.items()
        for seed, value in _values(made, noise, CHOOSING).items()
    ]
    pairs = [
        (str(sorted(comparison.without)), str(sorted(comparison.made))) for comparison in change_path.comparisons(path)
    ]
    return path, pa.Table.from_pylist(rows), pairs
