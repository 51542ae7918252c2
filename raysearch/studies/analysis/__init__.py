"""Paired differences with intervals and corrected p-values, marginal effects, and differences between runs.

`statistics` compares the variants of a run; the other modules build on it. Nothing here imports torch or ray.
"""

from raysearch.studies.analysis.marginals import Marginal, Point, marginal
from raysearch.studies.analysis.run_differences import Difference, differences
from raysearch.studies.analysis.statistics import compare, holm, interval

__all__ = ["Difference", "Marginal", "Point", "compare", "differences", "holm", "interval", "marginal"]
