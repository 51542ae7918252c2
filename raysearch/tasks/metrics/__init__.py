"""Metrics of binary codes: mean average precision with ties, precision and recall by Hamming radius.

`ranking` merges equal codes and counts items by distance, `class_codes` describes the codes of classes.
"""

from raysearch.tasks.metrics.class_codes import ClassCodes
from raysearch.tasks.metrics.found_precision import found_average_precision
from raysearch.tasks.metrics.hamming_metrics import (
    average_precision,
    lookup_nonempty,
    lookup_success,
    mean_average_precision,
    precision_by_radius,
    r_precision,
    recall_by_radius,
)
from raysearch.tasks.metrics.ranking import Database, Ranking, UniqueCodes, class_ids, merge_codes

__all__ = [
    "ClassCodes",
    "Database",
    "Ranking",
    "UniqueCodes",
    "average_precision",
    "class_ids",
    "found_average_precision",
    "lookup_nonempty",
    "lookup_success",
    "mean_average_precision",
    "merge_codes",
    "precision_by_radius",
    "r_precision",
    "recall_by_radius",
]
