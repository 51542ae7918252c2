"""The values that a metric can have: its bounds, and the score of a random guess."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

_SHARES = {"map", "accuracy", "acc", "precision", "recall", "success", "auc", "auroc", "iou", "dice", "f1", "ndcg"}
_SHARES |= {"share", "fraction", "top1", "top5"}
_NOT_SHARES = {"loss", "width", "size", "log", "distance"}
_POSITIVE = {
    "seconds",
    "time",
    "hours",
    "latency",
    "epochs",
    "memory",
    "bytes",
    "dollars",
    "count",
    "codes",
    "distance",
}
_CHANCE = re.compile(r"(map|r-?_?precision|accuracy)")
_NOTE = "An interval of a mean is cut where the metric cannot go ({}); Student's t does not know this."


class MetricRange(NamedTuple):
    """The lowest and highest value of a metric; infinite where there is no bound."""

    low: float = float("-inf")
    high: float = float("inf")

    def cut(self, low: float | None, high: float | None) -> tuple[float | None, float | None]:
        """Return an interval without the part that the metric cannot reach.

        >>> MetricRange(0.0, 1.0).cut(0.556, 1.075)
        (0.556, 1.0)
        """
        if low is None or high is None:
            return low, high
        return min(max(low, self.low), self.high), max(min(high, self.high), self.low)

    def exceeded(self, low: float | None, high: float | None) -> bool:
        """Return whether an interval has a part that the metric cannot reach."""
        return self.cut(low, high) != (low, high)

    @property
    def note(self) -> str:
        """Return a sentence about intervals that were cut.

        >>> MetricRange(0.0, 1.0).note
        "An interval of a mean is cut where the metric cannot go (0 to 1); Student's t does not know this."
        """
        bounds = f"{self.low:g} to {self.high:g}" if self.high < float("inf") else f"below {self.low:g}"
        return _NOTE.format(bounds)


def metric_range(name: str, values: Iterable[float]) -> MetricRange:
    """Return the range of a metric, by its name or id and the measured values.

    Accuracies, precisions and other shares are between 0 and 1, or 0 and 100 where a value is above 1. Times and counts
    are at least 0. Other metrics have no known bounds.

    Args:
        name: the metric's name or id, such as "map@all/expected-ties/test".
        values: measured ones.

    >>> metric_range("map", [0.6, 0.9]), metric_range("top1_accuracy", [61.5]), metric_range("epoch_seconds", [3.0])
    (MetricRange(low=0.0, high=1.0), MetricRange(low=0.0, high=100.0), MetricRange(low=0.0, high=inf))
    >>> metric_range("loss", [0.2]), metric_range("map", [-0.5])
    (MetricRange(low=-inf, high=inf), MetricRange(low=-inf, high=inf))
    """
    words = set(re.split(r"[^a-z0-9]+", name.lower().partition("/")[0]))
    largest = 0.0
    for value in values:
        if value < 0:
            return MetricRange()
        largest = max(largest, value)
    if words & _SHARES and not words & _NOT_SHARES and largest <= 100:
        percent = largest > 1 or words & {"percent", "pct"}
        return MetricRange(0.0, 100.0 if percent else 1.0)
    return MetricRange(0.0) if words & _POSITIVE else MetricRange()


def has_chance(metric: str) -> bool:
    """Return whether the recorded score of a random guess is about this metric.

    >>> has_chance("map"), has_chance("accuracy_validation"), has_chance("epoch_seconds"), has_chance("map_best_ties")
    (True, True, False, False)
    """
    return _CHANCE.match(metric.lower()) is not None and not metric.endswith(("_ties", "_ci"))


def near_chance(mean: Any, chance: Any) -> bool:
    """Return whether a mean is no better than a random guess: by at most a fifth of it, or a twentieth of the rest.

    >>> near_chance(0.118, 0.1), near_chance(0.5, 0.1), near_chance(0.53, 0.5), near_chance(0.02, 0.005)
    (True, False, False, False)
    """
    if not isinstance(mean, int | float) or not isinstance(chance, int | float) or not 0 < chance < 1:
        return False
    return mean - chance <= min(0.2 * chance, 0.05 * (1 - chance))
