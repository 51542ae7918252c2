"""Variants compared by paired differences over seeds, with Student-t intervals and Holm's correction.

A seed is a block: it draws the same samples for every variant, so differences within a seed carry less noise than the
means do.

A metric on n test items changes in steps of 1 / n. The variance of rounding to steps is added to the variance of the
differences, see `resolution`. Where all differences are equal, their spread is not known: there is no interval and no
verdict, because the next seed may differ.
"""

from collections.abc import Mapping

import pyarrow as pa

from raysearch.studies.analysis import comparisons as paired
from raysearch.studies.analysis.comparisons import metric_step
from raysearch.studies.analysis.t_tests import LEVEL, holm, interval, refusal

__all__ = ["FAMILY", "LEVEL", "compare", "holm", "interval", "metric_step", "recorded_family", "refusal"]

FAMILY = b"raysearch.comparisons"  # key of a table's metadata: comparisons of the whole study, as a decimal number

_SCHEMA = pa.schema(
    [("variant", pa.string()), ("seeds", pa.int64())]
    + [
        (name, pa.float64())
        for name in ("mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "p", "p_holm")
    ]
    + [("decided", pa.bool_()), ("failed", pa.int64()), ("stopped", pa.int64()), ("refused", pa.string())]
)


def compare(
    table: pa.Table, metric: str, reference: str | Mapping[str, str], comparisons: int | None = None
) -> pa.Table:
    """Compare every variant with the reference, or with its own reference.

    Only finished cells count. A variant's row counts its failed and stopped cells; a finished cell without a finite
    metric counts as failed. A difference is decided when its p-value, corrected by Holm over all comparisons of the
    study, is at most 0.05. With fewer than three common seeds, or the same difference with every seed, there is no
    interval and no verdict, and the row gives the reason.

    Times are compared on one device only, see `devices.comparable`: cells of other devices are left out.

    Intervals and p-values account for the metric's step: `metric_steps` states it, or the id of a few-shot accuracy,
    or all values of a reference and its variants are multiples of it.

    Args:
        table: results, one row per cell: variant, seed, status, config and the metric.
        metric: the column to compare.
        reference: the variant that the others are compared with; or variant -> its reference, where a reference maps
            to itself.
        comparisons: size of the family that Holm corrects over, for a part of a study. None takes it from the table,
            as `results.load` returns it, or counts the comparisons of the table.

    Returns:
        One row per variant, references first: variant, seeds (finished), mean, ci_low, ci_high, delta (variant minus
        reference, mean over common seeds), delta_low, delta_high, p, p_holm, decided, failed, stopped, refused (the
        reason why the difference, or for a reference its mean, has no interval). Numbers that cannot be computed are
        null; a reference has no delta. The p-value of differences without a spread is 1.

    Raises:
        UserError: unknown metric or reference, a metric that is not a number, a variant with several configs, or a
            metric with several definitions among variants that are compared.
    """
    rows = paired.read_rows(table, metric)
    names = list(dict.fromkeys(row["variant"] for row in rows))
    references = paired.read_references(names, reference)
    compared = paired.compare_rows(rows, metric, references)
    family = recorded_family(table) if comparisons is None else comparisons
    for row, corrected in zip(compared, holm([row["p"] for row in compared], family), strict=True):
        row["p_holm"] = corrected
        if row["variant"] != references[row["variant"]]:
            row["decided"] = corrected is not None and corrected <= 1 - LEVEL
    compared.sort(key=lambda row: row["variant"] != references[row["variant"]])
    return pa.Table.from_pylist(compared, schema=_SCHEMA)


def recorded_family(table: pa.Table) -> int | None:
    """Return the number of the study's comparisons as the table records it."""
    number = (table.schema.metadata or {}).get(FAMILY, b"")
    return int(number) if number.isdigit() else None
