"""Paired differences with intervals and corrected p-values, marginal effects, and differences between runs.

`statistics` compares the variants of a run, and `looks` those of an adaptive study, with the tests of `t_tests` and the
steps of `resolution`. `devices` keeps cells of different devices apart. Nothing here imports torch or ray.
"""

from raysearch.studies.analysis.looks import SEEDS, adaptive
from raysearch.studies.analysis.marginals import Marginal, Point, marginal
from raysearch.studies.analysis.run_differences import Difference, differences
from raysearch.studies.analysis.statistics import FAMILY, compare, metric_step
from raysearch.studies.analysis.t_tests import LEVEL, holm, interval, refusal

__all__ = [
    "FAMILY",
    "LEVEL",
    "SEEDS",
    "Difference",
    "Marginal",
    "Point",
    "adaptive",
    "compare",
    "differences",
    "holm",
    "interval",
    "marginal",
    "metric_step",
    "refusal",
]
