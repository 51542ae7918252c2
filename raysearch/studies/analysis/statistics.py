"""Variants compared by paired differences over seeds: Student-t intervals and Holm's correction over the family.

Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979. A seed is a
block: it draws the same samples for every variant, so differences within a seed carry less noise than the means do.
"""

import functools
import json
import math
from collections.abc import Mapping, Sequence

import pyarrow as pa
from scipy import special

from raysearch.core.errors import UserError, nearest

LEVEL = 0.95
FEWEST = 3  # seeds behind an interval: with two its quantile is 12.7, and one odd seed decides all

_USED = {"variant", "seed", "status", "config", "metric_ids"}
_SCHEMA = pa.schema(
    [("variant", pa.string()), ("seeds", pa.int64())]
    + [
        (name, pa.float64())
        for name in ("mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "p", "p_holm")
    ]
    + [("decided", pa.bool_()), ("failed", pa.int64()), ("stopped", pa.int64()), ("refused", pa.string())]
)


def compare(table: pa.Table, metric: str, reference: str | Mapping[str, str]) -> pa.Table:
    """Compare every variant with the reference, or with its own.

    Only finished cells count; a variant's failed and stopped cells are counted in its row, a finished cell without a
    finite metric among the failed. A difference is decided when its p-value, corrected by Holm over all comparisons of
    the table, is at most 0.05; then its interval leaves zero out. With fewer than three common seeds interval and
    verdict are refused, and the row says why.

    Args:
        table: results, a row a cell: variant, seed, status, config and the metric.
        metric: the column to compare.
        reference: the variant that the others are compared with; or variant -> the one that it is compared with, where
            a reference is compared with itself.

    Returns:
        A row a variant, references first: variant, seeds (finished), mean, ci_low, ci_high, delta (variant minus
        reference, mean over common seeds), delta_low, delta_high, p, p_holm, decided, failed, stopped, refused (why
        there is no interval: of the difference, for a reference of its mean). What cannot be computed is null; a
        reference has no delta.

    Raises:
        UserError: unknown metric or reference, a metric that is no number, a variant with several configs, a metric of
            several definitions among variants that are compared.
    """
    if metric not in table.column_names:
        raise UserError(f"no metric '{metric}' in the results{nearest(metric, table.column_names)}")
    kind = table.schema.field(metric).type
    if not any(is_kind(kind) for is_kind in (pa.types.is_floating, pa.types.is_integer, pa.types.is_null)):
        raise UserError(f"metric '{metric}' is no number in the results, but {kind}")
    rows = table.select([name for name in _USED | {metric} if name in table.column_names]).to_pylist()
    cells: dict[str, list[dict]] = {}
    for row in rows:
        cells.setdefault(row["variant"], []).append(row)
    references = dict.fromkeys(cells, reference) if isinstance(reference, str) else dict(reference)
    for one in [name for name in cells if name not in references] + list(references.values()):
        if one not in cells:
            raise UserError(f"no variant '{one}' in the results{nearest(one, cells)}")
        if one not in references:
            raise UserError(f"variant '{one}' has no reference")
    blocks: dict[str, list[dict]] = {}
    for name, own in cells.items():
        blocks.setdefault(references[name], []).extend(own)
    for block in blocks.values():  # only what is compared with each other has to be of one kind
        _check_one_definition(block, metric)
    values = {name: _finished(own, name, metric) for name, own in cells.items()}
    compared = [
        _row(own, name, values[name], values[references[name]], name == references[name]) for name, own in cells.items()
    ]
    for row, corrected in zip(compared, holm([row["p"] for row in compared]), strict=True):
        row["p_holm"] = corrected
        if row["variant"] != references[row["variant"]]:
            row["decided"] = corrected is not None and corrected <= 1 - LEVEL
    compared.sort(key=lambda row: row["variant"] != references[row["variant"]])
    return pa.Table.from_pylist(compared, schema=_SCHEMA)


def refusal(seeds: int) -> str | None:
    """Why so many seeds give no interval and no verdict; None when they are enough.

    >>> refusal(2), refusal(3)
    ('2 seeds: an interval needs three', None)
    """
    return None if seeds >= FEWEST else f"{seeds} seed{'' if seeds == 1 else 's'}: an interval needs three"


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Student-t interval of the mean; (None, None) for fewer than three values.

    >>> [round(bound, 3) for bound in interval([1.0, 2.0, 3.0])]
    [-0.484, 4.484]
    """
    if len(values) < FEWEST:
        return None, None
    mean, spread = math.fsum(values) / len(values), _standard_error(values)
    half = _quantile(len(values) - 1) * spread
    return mean - half, mean + half


def holm(p_values: list[float | None]) -> list[float | None]:
    """Holm's step-down adjusted p-values; None stays None and is no member of the family.

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
    """Of Student's t; most variants of a study have the same number of seeds, and scipy takes its time."""
    return float(special.stdtrit(degrees_of_freedom, (1 + LEVEL) / 2))


def _row(rows: list[dict], name: str, own: dict[int, float], other: dict[int, float], is_reference: bool) -> dict:
    low, high = interval(list(own.values()))
    statuses = [row["status"] for row in rows]
    row = {"variant": name, "seeds": len(own), "mean": _mean(list(own.values())), "ci_low": low, "ci_high": high}
    unusable = statuses.count("finished") - len(own)  # finished, but with a metric that is no number
    row |= {"failed": statuses.count("failed") + unusable, "stopped": statuses.count("stopped")}
    row |= dict.fromkeys(("delta", "delta_low", "delta_high", "p", "decided"))
    row["refused"] = refusal(len(own))
    if not is_reference:
        differences = [_difference(own[seed], other[seed]) for seed in own if seed in other]
        row["delta"] = _mean(differences)
        row["delta_low"], row["delta_high"] = interval(differences)
        row["p"], row["refused"] = _p_value(differences), refusal(len(differences))
    return row


def _difference(own: float, other: float) -> float:
    """The difference of two metrics; what rounding leaves of equal ones is none, and must not be decided."""
    return 0.0 if math.isclose(own, other, rel_tol=1e-12, abs_tol=1e-15) else own - other


def _p_value(differences: Sequence[float]) -> float | None:
    """Two-sided t-test of the paired differences against zero."""
    if len(differences) < FEWEST:
        return None
    error, mean = _standard_error(differences), _mean(differences)
    assert mean is not None
    if error == 0:  # the same difference with every seed: no spread to doubt it by
        return 1.0 if mean == 0 else 0.0
    return float(2 * special.stdtr(len(differences) - 1, -abs(mean / error)))


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _standard_error(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


def _finished(rows: list[dict], variant: str, metric: str) -> dict[int, float]:
    """Metric by seed of a variant's rows."""
    values: dict[int, float] = {}
    configs = set()
    for row in rows:
        if row["status"] != "finished" or row[metric] is None or not math.isfinite(row[metric]):
            continue
        if row["seed"] in values:
            raise UserError(f"seed {row['seed']} of variant '{variant}' stands twice in the results")
        values[row["seed"]] = row[metric]
        configs.add(row.get("config"))
    if len(configs) > 1:
        raise UserError(f"variant '{variant}' mixes {len(configs)} configs; compare cells of one config only")
    return values


def _check_one_definition(rows: list[dict], metric: str) -> None:
    texts = {row["metric_ids"] for row in rows if row.get("metric_ids")}
    ids = {str(found[metric]) for text in texts if metric in (found := _definitions(text))}
    if len(ids) > 1:
        raise UserError(f"metric '{metric}' has several definitions in one table: {', '.join(sorted(ids))}")


def _definitions(text: str) -> dict:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"the definitions of a cell's metrics cannot be read: {text[:80]!r}")
    return found
