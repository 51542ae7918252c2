"""The step of a metric with a finite resolution.

The accuracy on n test images is a multiple of 1 / n. Two variants can then have the same difference with every seed, or
nearly the same, although training is noisy: the spread of a few rounded numbers can be far too small. Rounding to steps
of r adds a variance of r^2 / 12 to a figure (Sheppard, "On the Calculation of the Most Probable Values of
Frequency-Constants", Proceedings of the London Mathematical Society 1897). The statistics add it to the variance that
they estimate: r^2 / 6 for the difference of two figures.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

COLUMN = "metric_steps"  # of the results: metric -> its step, as JSON
FEWEST_VALUES = 10  # that show a common step; fewer may share one by chance
MOST_ITEMS = 20_000  # test items up to which a step is read off the values; finer ones are below any noise
_SAMPLE = 8  # values that are tried with every number of items, before all values are
_ROUNDING = 1.5e-7  # relative, of metrics that were computed in single precision
_EPISODES = re.compile(r"accuracy@(\d+)-way-\d+-shot-(\d+)-query/(\d+)-episodes")


def stated_step(rows: Iterable[Mapping[str, Any]], metric: str) -> float | None:
    """Return the step of a metric as the cells state it: the coarsest one; None if no cell states any.

    A cell states its steps in the column `metric_steps`. The id of a few-shot accuracy states its test items as well,
    so cells of earlier versions have a step too.

    Args:
        rows: cells, with `metric_steps` and `metric_ids` where they record them.
        metric: the name of the metric.

    >>> stated_step([{"metric_steps": '{"map": 0.0025}'}, {}], "map")
    0.0025
    >>> stated_step([{"metric_ids": '{"accuracy": "accuracy@5-way-1-shot-5-query/400-episodes/test"}'}], "accuracy")
    0.0001
    """
    pairs = dict.fromkeys((row.get(COLUMN), row.get("metric_ids")) for row in rows)
    steps = [step for texts in pairs if (step := _step_of(*texts, metric)) is not None]
    return max(steps, default=None)


def common_step(values: Sequence[float]) -> float:
    """Return the largest step that all differences between values are multiples of; 0.0 if there is none.

    Fewer than `FEWEST_VALUES` values, or steps of more than `MOST_ITEMS` to the unit, count as none.

    >>> common_step([k / 50 for k in (30, 31, 33, 30, 35, 34, 29, 31, 30, 32)])
    0.02
    >>> common_step([0.1 * k**0.5 for k in range(20)])
    0.0
    """
    numbers = np.array(values, dtype=np.float64)
    if len(numbers) < FEWEST_VALUES or not np.ptp(numbers):
        return 0.0
    tolerance = _ROUNDING * float(np.abs(numbers).max())
    candidates = np.arange(1, MOST_ITEMS + 1)
    candidates = candidates[candidates * tolerance < 0.01]  # beyond, every number is near a multiple
    for items in candidates[_are_multiples(numbers[:_SAMPLE], candidates, tolerance)]:
        if _are_multiples(numbers, np.array([items]), tolerance)[0]:
            counts = np.rint((numbers - numbers[0]) * items).astype(np.int64)
            return float(np.gcd.reduce(np.abs(counts)) / items)
    return 0.0


def _are_multiples(values: np.ndarray, items: np.ndarray, tolerance: float) -> np.ndarray:
    """Return for each number of items n whether all values are multiples of 1 / n, within a tolerance of each value."""
    scaled = values * items[:, None]
    return (np.abs(scaled - np.rint(scaled)) <= tolerance * items[:, None]).all(axis=1)


def _step_of(steps: str | None, ids: str | None, metric: str) -> float | None:
    step = _parse(steps).get(metric)
    if isinstance(step, int | float) and 0 < step < np.inf:
        return float(step)
    match = _EPISODES.match(str(_parse(ids).get(metric)))
    if match is None:
        return None
    ways, queries, episodes = (int(number) for number in match.groups())
    return 1 / max(1, ways * queries * episodes)


def _parse(text: str | None) -> Mapping[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}
