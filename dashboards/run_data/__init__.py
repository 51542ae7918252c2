"""What pages read of a run beside its cells: rows as plain values, published numbers, the values a metric can have."""

from dashboards.run_data.metric_range import MetricRange, has_chance, metric_range, near_chance
from dashboards.run_data.published import Published, data_sets, read_published
from dashboards.run_data.result_rows import Histories, history, is_number, loads, mapping, mean, rows_of, typed

__all__ = [
    "Histories",
    "MetricRange",
    "Published",
    "data_sets",
    "has_chance",
    "history",
    "is_number",
    "loads",
    "mapping",
    "mean",
    "metric_range",
    "near_chance",
    "read_published",
    "rows_of",
    "typed",
]
