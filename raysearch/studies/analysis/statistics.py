"""Variants compared by paired differences over seeds, with Student-t intervals and Holm's correction.

Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979. A seed is a
block: it draws the same samples for every variant, so differences within a seed carry less noise than the means do.
"""

import functools
import json
import math
from collections.abc import Mapping, Sequence

import pyarrow as pa
from scipy import special

from raysearch.core import UserError, nearest

LEVEL = 0.95
FEWEST = 3  # seeds of an interval: with two, its quantile is 12.7 and a single odd seed decides everything

_COLUMNS = {"variant", "seed", "status", "config", "metric_ids"}
_SCHEMA = pa.schema(
    [("variant", pa.string()), ("seeds", pa.int64())]
    + [
        (name, pa.float64())
        for name in ("mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "p", "p_holm")
    ]
    + [("decided", pa.bool_()), ("failed", pa.int64()), ("stopped", pa.int64()), ("refused", pa.string())]
)


def compare(table: pa.Table, metric: str, reference: str | Mapping[str, str]) -> pa.Table:
    """Compare every variant with the reference, or with its own reference.

    Only finished cells count. A variant's row counts its failed and stopped cells; a finished cell without a finite
    metric counts as failed. A difference is decided when its p-value, corrected by Holm over all comparisons of the
    table, is at most 0.05. With fewer than three common seeds there is no interval and no verdict, and the row gives
    the reason.

    Args:
        table: results, one row per cell: variant, seed, status, config and the metric.
        metric: the column to compare.
        reference: the variant that the others are compared with; or variant -> its reference, where a reference maps
            to itself.

    Returns:
        One row per variant, references first: variant, seeds (finished), mean, ci_low, ci_high, delta (variant minus
        reference, mean over common seeds), delta_low, delta_high, p, p_holm, decided, failed, stopped, refused (the
        reason why the difference, or for a reference its mean, has no interval). Numbers that cannot be computed are
        null; a reference has no delta.

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
    blocks: dict[str, list[dict]] = {}
    for name, variant_rows in cells.items():
        blocks.setdefault(references[name], []).extend(variant_rows)
    for block in blocks.values():  # only variants that are compared need the same definition
        _check_one_definition(block, metric)
    values = {name: _finished(variant_rows, name, metric) for name, variant_rows in cells.items()}
    compared = [
        _row(variant_rows, name, values[name], values[references[name]], name == references[name])
        for name, variant_rows in cells.items()
    ]
    for row, corrected in zip(compared, holm([row["p"] for row in compared]), strict=True):
        row["p_holm"] = corrected
        if row["variant"] != references[row["variant"]]:
            row["decided"] = corrected is not None and corrected <= 1 - LEVEL
    compared.sort(key=lambda row: row["variant"] != references[row["variant"]])
    return pa.Table.from_pylist(compared, schema=_SCHEMA)


def refusal(seeds: int) -> str | None:
    """Return the reason why a number of seeds gives no interval and no verdict; None if there are enough.

    >>> refusal(2), refusal(3)
    ('2 seeds: an interval needs three', None)
    """
    return None if seeds >= FEWEST else f"{seeds} seed{'' if seeds == 1 else 's'}: an interval needs three"


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the Student-t interval of the mean; (None, None) for fewer than three values.

    >>> [round(bound, 3) for bound in interval([1.0, 2.0, 3.0])]
    [-0.484, 4.484]
    """
    if len(values) < FEWEST:
        return None, None
    mean = math.fsum(values) / len(values)
    half_width = _quantile(len(values) - 1) * _standard_error(values)
    return mean - half_width, mean + half_width


def holm(p_values: list[float | None]) -> list[float | None]:
    """Return Holm's step-down adjusted p-values; None stays None and is not a member of the family.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    adjusted = list(p_values)
    members = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    running = 0.0
    for step, (p, index) in enumerate(members):
        running = max(running, min(1.0, (len(members) - step) * p))
        adjusted[index] = running
    return adjusted


@functools.cache
def _quantile(degrees_of_freedom: int) -> float:
    """Return the quantile of Student's t. It is cached, since scipy is slow and most variants have as many seeds."""
    return float(special.stdtrit(degrees_of_freedom, (1 + LEVEL) / 2))


def _row(
    rows: list[dict], name: str, values: dict[int, float], reference: dict[int, float], is_reference: bool
) -> dict:
    low, high = interval(list(values.values()))
    statuses = [row["status"] for row in rows]
    row = {"variant": name, "seeds": len(values), "mean": _mean(list(values.values())), "ci_low": low, "ci_high": high}
    unusable = statuses.count("finished") - len(values)  # finished, without a finite metric
    row |= {"failed": statuses.count("failed") + unusable, "stopped": statuses.count("stopped")}
    row |= dict.fromkeys(("delta", "delta_low", "delta_high", "p", "decided"))
    row["refused"] = refusal(len(values))
    if not is_reference:
        differences = [_difference(values[seed], reference[seed]) for seed in values if seed in reference]
        row["delta"] = _mean(differences)
        row["delta_low"], row["delta_high"] = interval(differences)
        row["p"] = _p_value(differences)
        row["refused"] = refusal(len(differences))
    return row


def _difference(value: float, reference: float) -> float:
    """Return the difference of two metrics. Metrics that differ by rounding alone are equal: it must not be decided."""
    return 0.0 if math.isclose(value, reference, rel_tol=1e-12, abs_tol=1e-15) else value - reference


def _p_value(differences: Sequence[float]) -> float | None:
    """Return the p-value of the two-sided t-test of paired differences against zero."""
    if len(differences) < FEWEST:
        return None
    error = _standard_error(differences)
    mean = _mean(differences)
    assert mean is not None
    if error == 0:  # the same difference with every seed: there is no spread
        return 1.0 if mean == 0 else 0.0
    return float(2 * special.stdtr(len(differences) - 1, -abs(mean / error)))


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _standard_error(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


def _finished(rows: list[dict], variant: str, metric: str) -> dict[int, float]:
    """Return the metric by seed of a variant's finished rows."""
    values: dict[int, float] = {}
    configs = set()
    for row in rows:
        if row["status"] != "finished" or row[metric] is None or not math.isfinite(row[metric]):
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
