"""Cells become paired differences: each variant against its reference, before a correction for several comparisons.

`statistics.compare` corrects all comparisons of a finished study, and `looks` those of an adaptive study at each look.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysearch.core import UserError, nearest
from raysearch.studies.analysis import devices, resolution
from raysearch.studies.analysis.devices import Row
from raysearch.studies.analysis.t_tests import LEVEL, has_spread, interval, no_spread, p_value, refusal

_COLUMNS = {"variant", "seed", "status", "error", "config", "metric_ids", resolution.COLUMN, *devices.COLUMNS}


def read_rows(table: pa.Table, metric: str) -> list[dict[str, Any]]:
    """Return the cells of a table with the columns that comparisons need.

    Args:
        table: results, one row per cell.
        metric: the column to compare.

    Raises:
        UserError: unknown metric, or one that is not a number.
    """
    if metric not in table.column_names:
        raise UserError(f"no metric '{metric}' in the results{nearest(metric, table.column_names)}")
    kind = table.schema.field(metric).type
    if not any(is_kind(kind) for is_kind in (pa.types.is_floating, pa.types.is_integer, pa.types.is_null)):
        raise UserError(f"metric '{metric}' is not a number: the results hold {kind}")
    return table.select([name for name in _COLUMNS | {metric} if name in table.column_names]).to_pylist()


def read_references(names: Collection[str], reference: str | Mapping[str, str]) -> dict[str, str]:
    """Return variant -> its reference.

    Args:
        names: of the variants in the results.
        reference: see `compare`.

    Raises:
        UserError: a reference that is no variant, or a variant without a reference.
    """
    references = dict.fromkeys(names, reference) if isinstance(reference, str) else dict(reference)
    for name in [name for name in names if name not in references] + list(references.values()):
        if name not in names:
            raise UserError(f"no variant '{name}' in the results{nearest(name, names)}")
        if name not in references:
            raise UserError(f"variant '{name}' has no reference")
    return references


def read_running(
    table: pa.Table, metric: str, reference: str | Mapping[str, str]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the cells of a study that may still run, and variant -> its reference.

    Variants of the mapping need no cell yet, and the metric no column before a cell has finished.

    Args:
        table: results so far, one row per cell.
        metric: the column to compare.
        reference: see `statistics.compare`.

    Raises:
        UserError: see `read_rows` and `read_references`.
    """
    if metric not in table.column_names and "finished" not in table["status"].to_pylist():
        table = table.append_column(metric, pa.nulls(table.num_rows, pa.float64()))
    rows = read_rows(table, metric)
    names = dict.fromkeys(row["variant"] for row in rows)
    if not isinstance(reference, str):
        names |= dict.fromkeys(reference)
    return rows, read_references(names, reference)


@dataclass(frozen=True)
class PairedCells:
    """The cells of a variant, and the metric of its finished cells beside that of its reference.

    Attributes:
        variant: the name.
        is_reference: whether the variant is compared with itself.
        cells: of the variant.
        values: metric by seed.
        reference_values: metric of the reference by seed.
        step: of the metric; 0.0 if none is known.
    """

    variant: str
    is_reference: bool
    cells: Sequence[Row]
    values: Mapping[int, float]
    reference_values: Mapping[int, float]
    step: float

    @property
    def differences(self) -> dict[int, float]:
        """Variant minus reference by seed, for seeds that both finished."""
        pairs = self.reference_values
        return {seed: _difference(value, pairs[seed]) for seed, value in self.values.items() if seed in pairs}

    @property
    def rounding(self) -> float:
        """Variance that rounding adds to a difference."""
        return self.step**2 / 6

    @property
    def largest(self) -> float:
        """The largest metric of the common seeds."""
        return max(max(abs(self.values[seed]), abs(self.reference_values[seed])) for seed in self.differences)


def pair_cells(rows: Sequence[Row], metric: str, references: Mapping[str, str]) -> list[PairedCells]:
    """Return the cells of each variant beside its reference, in the order of the cells.

    Args:
        rows: of `read_rows`.
        metric: the column to compare.
        references: variant -> its reference.

    Raises:
        UserError: a variant with several configs, or a metric with several definitions among compared variants.
    """
    names = dict.fromkeys(row["variant"] for row in rows)
    cells: dict[str, list[Row]] = {name: [] for name in names}
    for row in devices.comparable(rows, metric, references):
        cells[row["variant"]].append(row)
    blocks: dict[str, list[Row]] = {}
    for name, variant_rows in cells.items():
        blocks.setdefault(references[name], []).extend(variant_rows)
    for block in blocks.values():  # only variants that are compared need the same definition
        _check_one_definition(block, metric)
    values = {name: _finished(variant_rows, name, metric) for name, variant_rows in cells.items()}
    steps = {name: metric_step(block, metric) for name, block in blocks.items()}
    return [
        PairedCells(
            variant=name,
            is_reference=references[name] == name,
            cells=variant_rows,
            values=values[name],
            reference_values=values.get(references[name], {}),
            step=steps[references[name]],
        )
        for name, variant_rows in cells.items()
    ]


def compare_rows(
    rows: Sequence[Row], metric: str, references: Mapping[str, str], level: float = LEVEL
) -> list[dict[str, Any]]:
    """Return the comparisons of `compare` as they are before Holm's correction, in the order of the cells.

    Args:
        rows: see `pair_cells`.
        metric: see `pair_cells`.
        references: see `pair_cells`.
        level: of the intervals.

    Raises:
        UserError: see `pair_cells`.
    """
    return [_row(pair, level) for pair in pair_cells(rows, metric, references)]


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


def _row(pair: PairedCells, level: float) -> dict[str, Any]:
    values = list(pair.values.values())
    low, high = interval(values, pair.step**2 / 12, level)
    statuses = [cell["status"] for cell in pair.cells]
    row = {"variant": pair.variant, "seeds": len(values), "mean": _mean(values), "ci_low": low, "ci_high": high}
    unusable = statuses.count("finished") - len(values)  # finished, without a finite metric
    row |= {"failed": statuses.count("failed") + unusable, "stopped": statuses.count("stopped")}
    row |= dict.fromkeys(("delta", "delta_low", "delta_high", "p", "decided"))
    row["refused"] = refusal(len(values))
    if not pair.is_reference:
        differences = list(pair.differences.values())
        row["delta"] = _mean(differences)
        row["refused"] = refusal(len(differences))
        if values and pair.reference_values and not differences:
            row["refused"] = "no seed in common with the reference"
        if row["refused"] is None:
            if has_spread(differences, pair.largest):
                row["delta_low"], row["delta_high"] = interval(differences, pair.rounding, level)
                row["p"] = p_value(differences, pair.rounding)
            else:
                row["p"] = 1.0
                row["refused"] = no_spread(differences)
    return row


def _difference(value: float, reference: float) -> float:
    """Return the difference of two metrics. Metrics that differ by rounding alone are equal: it must not be decided."""
    return 0.0 if math.isclose(value, reference, rel_tol=1e-12, abs_tol=1e-15) else value - reference


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _has_value(row: Mapping[str, Any], metric: str) -> bool:
    value = row.get(metric)
    return row["status"] == "finished" and value is not None and math.isfinite(value)


def _finished(rows: list[Row], variant: str, metric: str) -> dict[int, float]:
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


def _check_one_definition(rows: list[Row], metric: str) -> None:
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
