"""Mean ranks against Demšar's worked example (JMLR 2006, table 6) and a plain second writing."""

import numpy as np
import pytest
from scipy import stats

from raysearch.studies.analysis.mean_ranks import mean_ranks

# AUC of C4.5 with its parameter m, cf, both and none, on 14 data sets.
DEMSAR = {
    "C4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957],
    "C4.5+m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978],
    "C4.5+cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.000, 0.965, 0.614, 0.9751, 0.946],
    "C4.5+m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.000, 0.962, 0.669, 0.975, 0.970],
}


def test_the_worked_example_of_the_paper() -> None:
    ranked = mean_ranks(DEMSAR, "max")
    assert {name: round(rank, 3) for name, rank in ranked.ranks.items()} == {
        "C4.5+m+cf": 1.964,
        "C4.5+m": 2.000,
        "C4.5+cf": 2.893,
        "C4.5": 3.143,
    }
    assert ranked.critical_difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=1e-3)  # 1.25 in the paper
    assert ranked.p is not None
    squares = sum(rank**2 for rank in ranked.ranks.values())
    statistic = 12 * 14 / (4 * 5) * (squares - 4 * 5**2 / 4)
    assert statistic == pytest.approx(9.28, abs=0.01)
    assert ranked.p < stats.chi2.sf(statistic, 3)  # the paper's statistic is not corrected for ties, scipy's is
    assert ranked.differs


def test_groups_are_the_longest_runs_within_the_critical_difference() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = {f"m{number}": list(rng.normal(loc=number / 2, size=9)) for number in range(6)}
        ranked = mean_ranks(scores, "min")
        names = list(ranked.ranks)
        if not ranked.differs:
            assert ranked.groups() == [names]
            continue
        together = {frozenset(pair) for group in ranked.groups() for pair in _pairs(group)}
        near = {
            frozenset(pair)
            for pair in _pairs(names)
            if abs(ranked.ranks[pair[0]] - ranked.ranks[pair[1]]) < ranked.critical_difference
        }
        assert together == near


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    return [(name, other) for number, name in enumerate(names) for other in names[number + 1 :]]
