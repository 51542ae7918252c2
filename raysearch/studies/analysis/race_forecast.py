"""Forecast the cells of a race: simulated races by the rule itself, on an assumption about which changes matter.

Nobody knows beforehand which changes matter. The forecast takes the gain and the spread that the search has measured
between both ends of a path. It assumes that a third of the changes earn the gain in equal parts, and that the rest do
nothing. Noise is Gaussian and independent between configs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysearch.studies.analysis import change_path
from raysearch.studies.analysis.look_replay import Replay

RACES = 10  # the mean of so many has an error of a few percent, and takes about a second
_METRIC = "metric"


@dataclass(frozen=True)
class MeasuredPath:
    """A path whose ends the search has judged.

    Attributes:
        changes: number of changes.
        gain: mean paired difference of both ends.
        spread: standard deviation of paired differences.
    """

    changes: int
    gain: float
    spread: float


def expected_cells(paths: Sequence[MeasuredPath], looks: Sequence[int], margin: float | None = None) -> float:
    """Return the expected number of cells of a race, of the configs that its comparisons need.

    Args:
        paths: whose comparisons share Holm's correction.
        looks: numbers of seeds.
        margin: of a gain that does not matter.

    >>> expected_cells([MeasuredPath(2, 1.0, 1e-5)], [3, 20], margin=0.01)  # all is decided at once
    12.0
    """
    rng = np.random.default_rng(0)
    return math.fsum(_count_cells(paths, looks, margin, rng) for _ in range(RACES)) / RACES


def _count_cells(
    paths: Sequence[MeasuredPath], looks: Sequence[int], margin: float | None, rng: np.random.Generator
) -> int:
    """Simulate a race, and return the number of its cells."""
    cells = []
    references: dict[str, str] = {}
    configs: dict[str, str] = {}  # name in a comparison -> config
    for index, path in enumerate(paths):
        names = [str(number) for number in range(path.changes)]
        matter = set(names[: math.ceil(path.changes / 3)])
        values: dict[frozenset[str], list[float]] = {}
        for comparison in change_path.comparisons(names):
            pair = change_path.pair_names(len(references) // 2)
            for name, made in zip(pair, (comparison.without, comparison.made), strict=True):
                if made not in values:
                    level = path.gain * len(made & matter) / len(matter)
                    values[made] = (level + rng.normal(0, path.spread / math.sqrt(2), looks[-1])).tolist()
                references[name] = pair[0]
                configs[name] = f"{index} {sorted(made)}"
                cells += [
                    {"variant": name, "seed": seed, "status": "finished", _METRIC: value}
                    for seed, value in enumerate(values[made])
                ]
    replay = Replay(cells, _METRIC, references, looks, range(looks[-1]), margin, "max", len(references) // 2)
    seeds: dict[str, int] = {}
    for row in replay.rows():
        config = configs[row["variant"]]
        seeds[config] = max(seeds.get(config, 0), looks[row["look"] - 1])
    return sum(seeds.values())
