"""Metrics of binary codes: mean average precision over ties, precision and recall by Hamming radius, rankings.

`hamming_metrics` computes them from distances; `distinct_codes` and `class_codes` save work where many codes are equal.
"""

from raysearch.tasks.metrics.hamming_metrics import (
    average_precision,
    lookup_nonempty,
    lookup_success,
    mean_average_precision,
    precision_by_radius,
    r_precision,
    recall_by_radius,
)

__all__ = [
    "average_precision",
    "lookup_nonempty",
    "lookup_success",
    "mean_average_precision",
    "precision_by_radius",
    "r_precision",
    "recall_by_radius",
]
