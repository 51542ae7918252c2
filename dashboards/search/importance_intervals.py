"""Intervals of importances, by a bootstrap over the trials of a search.

A resample draws as many trials as there are, with replacement, and Optuna computes the importances again. The interval
is the importance with 1.96 standard deviations of the resamples on both sides, cut at 0 and 1. Percentiles of the
resamples would often leave out the importance itself: a resample has fewer distinct trials, which raises the small
shares. The bootstrap takes trials as independent. Those of a sampler that learns are not, so the interval is of the
importance in these trials, and not in the space.

A search of more than 1,250 trials has smaller resamples, because each takes a second. Standard deviations go down with
the square root of the size, and are scaled so.
"""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from dashboards.html import Cell, Column, Table, formats

_RESAMPLES = 50
_FEWEST_RESAMPLES = 20
_MOST_EVALUATED = 25_000  # trials in all resamples, so that the report of a large search takes seconds
_QUANTILE = 1.959964  # of the normal distribution at 97.5 %


@dataclass(frozen=True)
class ImportanceInterval:
    """The importance of a parameter with its interval."""

    group: str  # empty if the search has no groups
    metric: str
    path: str
    share: float
    low: float
    high: float
    trials: int
    resamples: int

    @property
    def text(self) -> str:
        """The importance and its interval in words."""
        return f"{formats.metric(self.share)} {formats.interval(self.low, self.high)}"


class _ResampledStudy(optuna.Study):
    """A study whose trials are drawn from those of another study. A trial may occur several times."""

    sample: list[FrozenTrial]

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the resample; all of its trials are complete."""
        return self.sample


def bootstrap(study: optuna.Study, shares: Mapping[str, float], metric: str, group: str) -> list[ImportanceInterval]:
    """Return importances with their intervals.

    Args:
        study: the finished configs, all with the same parameters.
        shares: parameter -> importance.
        metric: the metric that the shares are for.
        group: label of the group of the search.
    """
    trials = study.get_trials(deepcopy=False)
    number = max(_FEWEST_RESAMPLES, min(_RESAMPLES, _MOST_EVALUATED // len(trials)))
    size = min(len(trials), _MOST_EVALUATED // number)
    resampled = _empty_study(study)
    draws: dict[str, list[float]] = {path: [] for path in shares}
    rng = np.random.default_rng(0)  # the same report twice has the same numbers
    for _ in range(number):
        resampled.sample = [trials[index] for index in rng.integers(0, len(trials), size)]
        drawn = optuna.importance.get_param_importances(resampled)
        for path, values in draws.items():
            values.append(drawn.get(path, 0.0))
    intervals = []
    for path, share in shares.items():
        half_width = _QUANTILE * float(np.std(draws[path], ddof=1)) * math.sqrt(size / len(trials))
        low = max(0.0, share - half_width)
        high = min(1.0, share + half_width)
        intervals.append(ImportanceInterval(group, metric, path, share, low, high, len(trials), number))
    return sorted(intervals, key=lambda interval: -interval.share)


def _empty_study(study: optuna.Study) -> _ResampledStudy:
    """Return a study of the same direction."""
    storage = optuna.storages.InMemoryStorage()
    name = optuna.create_study(storage=storage, direction=study.direction).study_name
    return _ResampledStudy(name, storage)


def importance_table(rows: Sequence[ImportanceInterval], has_groups: bool) -> Table[ImportanceInterval]:
    """Return the importances for the page.

    Args:
        rows: the importances.
        has_groups: whether the search has several groups.
    """
    columns: list[Column[ImportanceInterval]] = [Column("Parameter", lambda row: row.path, "name")]
    if has_groups:
        columns.append(Column("Group", lambda row: row.group, "text"))
    columns.append(Column("Importance", _share_cell))
    return Table(columns, rows)


def _share_cell(row: ImportanceInterval) -> Cell:
    return Cell(formats.metric(row.share), formats.interval(row.low, row.high), row.share)
