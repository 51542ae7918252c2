"""Variants compared by paired differences over seeds, with Student-t intervals and Holm's correction.

A seed is a block: it draws the same samples for every variant, so differences within a seed carry less noise than the
means do.

A metric on n test items changes in steps of 1 / n. The variance of rounding to steps is added to the variance of the
differences, see `resolution`. Where all differences are equal, their spread is not known: there is no interval and no
verdict, because the next seed may differ.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from raysearch.core import UserError, nearest
from raysearch.studies.analysis import devices, resolution
from raysearch.studies.analysis.t_tests import LEVEL, has_spread, holm, interval, no_spread, p_value, refusal

__all__ = ["FAMILY", "LEVEL", "compare", "holm", "interval", "metric_step", "refusal"]

FAMILY = b"raysearch.comparisons"  # key of a table's metadata: comparisons of the whole study, as a decimal number

_COLUMNS = {"variant", "seed", "status", "config", "metric_ids", resolution.COLUMN, *devices.COLUMNS}
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
    if metric not in table.column_names:
        raise UserError(f"no metric '{metric}' in the results{nearest(metric, table.column_names)}")
    kind = table.schema.field(metric).type
    if not any(is_kind(kind) for is_kind in (pa.types.is_floating, pa.types.is_integer, pa.types.is_null)):
        raise UserError(f"metric '{metric}' is not a number: the results hold {kind}")
    rows = table.select([name for name in _COLUMNS | {metric} if name in table.column_names]).to_pylist()
    cells: dict[str, list[dict]] = {}
    for row in rows:
        cells.setdefault(row["variant"], []).append(row)
    references = dict.fromkeys(cells, reference) if isinstance(reference, str) else dict(reference)
    for name in [name for name in cells if name not in references] + list(references.values()):
        if name not in cells:
            raise UserError(f"no variant '{name}' in the results{nearest(name, cells)}")
        if name not in references:
            raise UserError(f"variant '{name}' has no reference")
    comparable = {id(row) for row in devices.comparable(rows, metric, references)}
    cells = {name: [row for row in variant_rows if id(row) in comparable] for name, variant_rows in cells.items()}
    blocks: dict[str, list[dict]] = {}
    for name, variant_rows in cells.items():
        blocks.setdefault(references[name], []).extend(variant_rows)
    for block in blocks.values():  # only variants that are compared need the same definition
        _check_one_definition(block, metric)
    values = {name: _finished(variant_rows, name, metric) for name, variant_rows in cells.items()}
    steps = {name: metric_step(block, metric) for name, block in blocks.items()}
    compared = [
        _row(
            variant_rows,
            name,
            values[name],
            values[references[name]],
            name == references[name],
            steps[references[name]],
        )
        for name, variant_rows in cells.items()
    ]
    family = _recorded_family(table) if comparisons is None else comparisons
    for row, corrected in zip(compared, holm([row["p"] for row in compared], family), strict=True):
        row["p_holm"] = corrected
        if row["variant"] != references[row["variant"]]:
            row["decided"] = corrected is not None and corrected <= 1 - LEVEL
    compared.sort(key=lambda row: row["variant"] != references[row["variant"]])
    return pa.Table.from_pylist(compared, schema=_SCHEMA)


def metric_step(rows: Sequence[Mapping[str, Any]], metric: str) -> float:
    """Return the step of a metric: as the cells state it, else as their values show it; 0.0 where neither does.

    Args:
        rows: the cells of a reference and its variants.
        metric: the name of the metric.
    """
    stated = resolution.stated_step(rows, metric)
    if stated is not None:
        return stated
    return resolution.common_step([row[metric] for row in rows if _has_value(row, metric)])


def _row(
    rows: list[dict],
    name: str,
    values: dict[int, float],
    reference: dict[int, float],
    is_reference: bool,
    step: float,
) -> dict:
    low, high = interval(list(values.values()), step**2 / 12)
    statuses = [row["status"] for row in rows]
    row = {"variant": name, "seeds": len(values), "mean": _mean(list(values.values())), "ci_low": low, "ci_high": high}
    unusable = statuses.count("finished") - len(values)  # finished, without a finite metric
    row |= {"failed": statuses.count("failed") + unusable, "stopped": statuses.count("stopped")}
    row |= dict.fromkeys(("delta", "delta_low", "delta_high", "p", "decided"))
    row["refused"] = refusal(len(values))
    if not is_reference:
        common = [seed for seed in values if seed in reference]
        differences = [_difference(values[seed], reference[seed]) for seed in common]
        row["delta"] = _mean(differences)
        row["refused"] = refusal(len(differences))
        if values and reference and not common:
            row["refused"] = "no seed in common with the reference"
        if row["refused"] is None:
            largest = max(max(abs(values[seed]), abs(reference[seed])) for seed in common)
            if has_spread(differences, largest):
                row["delta_low"], row["delta_high"] = interval(differences, step**2 / 6)
                row["p"] = p_value(differences, step**2 / 6)
            else:
                row["p"] = 1.0
                row["refused"] = no_spread(differences)
    return row


def _difference(value: float, reference: float) -> float:
    """Return the difference of two metrics. Metrics that differ by rounding alone are equal: it must not be decided."""
    return 0.0 if math.isclose(value, reference, rel_tol=1e-12, abs_tol=1e-15) else value - reference


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _recorded_family(table: pa.Table) -> int | None:
    """Return the number of the study's comparisons as the table records it."""
    number = (table.schema.metadata or {}).get(FAMILY, b"")
    return int(number) if number.isdigit() else None


def _has_value(row: Mapping[str, Any], metric: str) -> bool:
    value = row.get(metric)
    return row["status"] == "finished" and value is not None and math.isfinite(value)


def _finished(rows: list[dict], variant: str, metric: str) -> dict[int, float]:
    """Return the metric by seed of a variant's finished rows."""
    values: dict[int, float] = {}
    configs = set()
    for row in rows:
        if not _has_value(row, metric):
            continue
        if row["seed"] in values:
            raise UserError(f"the results hold seed {row['seed']} of variant '{variant}' twice")
        values[row["seed"]] = row[metric]
        configs.add(row.get("config"))
    if len(configs) > 1:
        raise UserError(f"variant '{variant}' mixes {len(configs)} configs; compare cells of a single config")
    return values


def _check_one_definition(rows: list[dict], metric: str) -> None:
    texts = {row["metric_ids"] for row in rows if row.get("metric_ids")}
    ids = {str(definitions[metric]) for text in texts if metric in (definitions := _parse_definitions(text))}
    if len(ids) > 1:
        raise UserError(f"metric '{metric}' has several definitions in one table: {', '.join(sorted(ids))}")


def _parse_definitions(text: str) -> dict:
    try:
        definitions = json.loads(text)
    except (ValueError, RecursionError):
        definitions = None
    if not isinstance(definitions, dict):
        raise UserError(f"the metric definitions of a cell cannot be read: {text[:80]!r}")
    return definitions
