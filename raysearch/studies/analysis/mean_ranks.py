"""Mean ranks of methods over data sets, and the critical difference between them.

Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006. Friedman's test asks whether any
method differs. Nemenyi's critical difference is the smallest difference between two mean ranks that is significant over
all pairs. Data sets are the blocks, and one number per method and data set enters, so seeds do not count twice.

scipy has both distributions. Libraries that draw the diagram (aeon, autorank, critdd, scikit-posthocs) bring
matplotlib, pandas or TeX, and figures that the page cannot style.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FEWEST_SETS = 5
FEWEST_METHODS = 3  # of Friedman's test
_LEVEL = 0.05


@dataclass(frozen=True)
class MeanRanks:
    """The mean ranks of methods over data sets.

    Attributes:
        ranks: method -> its mean rank, the best first; equal metrics share the mean of their ranks.
        sets: number of data sets.
        p: of Friedman's test; None where the same rank order is impossible to test, since all metrics are equal.
        critical_difference: between two mean ranks, at the 5 % level over all pairs.
    """

    ranks: Mapping[str, float]
    sets: int
    p: float | None
    critical_difference: float

    @property
    def differs(self) -> bool:
        """Return whether Friedman's test finds any difference; without one no pair is compared."""
        return self.p is not None and self.p <= _LEVEL

    def groups(self) -> list[list[str]]:
        """Return the largest groups of methods that cannot be told apart, from the best to the worst.

        Without a difference by Friedman's test that is a single group.
        """
        names = list(self.ranks)
        if not self.differs:
            return [names]
        groups: list[list[str]] = []
        last = 0
        for start, name in enumerate(names):
            end = start
            while end < len(names) and self.ranks[names[end]] - self.ranks[name] < self.critical_difference:
                end += 1
            if end - start > 1 and end > last:
                groups.append(names[start:end])
                last = end
        return groups


def mean_ranks(scores: Mapping[str, Sequence[float]], mode: str) -> MeanRanks:
    """Return the mean ranks of methods.

    Args:
        scores: method -> its metric on each data set, in the same order of sets.
        mode: "max" if a higher metric is better, "min" if a lower one is.

    >>> ranked = mean_ranks({"a": [1, 2, 3, 4, 5], "b": [2, 3, 4, 5, 6], "c": [3, 4, 5, 6, 7]}, "max")
    >>> ranked.ranks, round(ranked.p, 4), round(ranked.critical_difference, 3)
    ({'c': 1.0, 'b': 2.0, 'a': 3.0}, 0.0067, 1.482)
    >>> ranked.groups()
    [['c', 'b'], ['b', 'a']]
    """
    from scipy import stats  # which takes a second to import

    names = list(scores)
    sets = len(scores[names[0]])
    sign = -1 if mode == "max" else 1
    by_set = [stats.rankdata([sign * scores[name][number] for name in names]) for number in range(sets)]
    means = {name: float(sum(ranks[index] for ranks in by_set)) / sets for index, name in enumerate(names)}
    p = float(stats.friedmanchisquare(*(scores[name] for name in names)).pvalue)
    count = len(names)
    quantile = float(stats.studentized_range.ppf(1 - _LEVEL, count, math.inf)) / math.sqrt(2)
    return MeanRanks(
        ranks=dict(sorted(means.items(), key=lambda entry: entry[1])),
        sets=sets,
        p=p if math.isfinite(p) else None,
        critical_difference=quantile * math.sqrt(count * (count + 1) / (6 * sets)),
    )
