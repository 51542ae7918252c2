"""Metrics of binary codes: mean average precision with ties, precision and recall by Hamming radius.

`ranking` counts items by distance, `distinct_codes` merges equal codes, `class_codes` describes the codes of classes.
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
