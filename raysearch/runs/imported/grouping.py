"""From rows to cells: one cell per variant and seed, with its metric, its curve and its scores per test item."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raysearch.core import UserError
from raysearch.runs.cells import RESERVED
from raysearch.runs.imported import source
from raysearch.runs.imported.columns import KNOWN, Columns
from raysearch.runs.imported.source import Curve, Row, Source
from raysearch.studies.analysis import paired_episodes

_LARGEST = 2.0**53  # seeds beyond are not exact in a table of numbers
_RAYSEARCH_COLUMNS = ("cell", "metric_ids")  # columns by which a table of raysearch is known
_TEXTS = ("device", "metric_ids", "metric_steps", "history", "config", "data", "environment", "right_by_episode")
_ITERATION = "iteration"  # the key of a step in a history


@dataclass
class ImportedCell:
    """A variant with a seed.

    Attributes:
        variant: its name.
        settings: the values of the columns that name the variant.
        seed: the seed.
        values: the columns of its row.
        status: "finished", "failed" or "stopped".
        curve: its learning curve.
        items: test item -> score; empty without scores per item.
    """

    variant: str
    settings: Row
    seed: int
    values: Row
    status: str
    curve: Curve = field(default_factory=list)
    items: dict[str, float] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """A name that depends on variant and seed, so that a source that grew gives the same names."""
        return hashlib.sha256(json.dumps([self.variant, self.seed]).encode()).hexdigest()[:16]

    def record(self, metric: str, common_items: Sequence[str]) -> dict[str, Any]:
        """Return the cell as `runs.cells.write_cell` takes it.

        Args:
            metric: the name of the column that is compared.
            common_items: test items that every cell with scores has, in order.
        """
        numbers = {name: source.as_number(value) for name, value in self.values.items()}
        metrics = {name: number for name, number in numbers.items() if number is not None and name not in RESERVED}
        record: dict[str, Any] = {"cell": self.hash, "seed": self.seed, "status": self.status}
        error = self.values.get(source.ERROR)
        record["error"] = str(error) if error is not None else None
        for name in KNOWN:
            number = numbers.get(name)
            if number is not None and abs(number) < _LARGEST:
                record[name] = number if name.endswith("seconds") else int(number)
        if all(name in self.values for name in _RAYSEARCH_COLUMNS):
            record |= {name: self.values[name] for name in _TEXTS if isinstance(self.values.get(name), str)}
        record |= metrics
        record[metric] = metrics.get(metric)
        record.setdefault("metric_ids", json.dumps({name: name for name in (metric, *metrics)}))
        record.setdefault("device", "unknown device")
        if self.curve and "history" not in record:
            record["history"] = json.dumps(self.curve)
        if common_items and self.items:
            record[paired_episodes.SCORES] = json.dumps([self.items[item] for item in common_items])
        return record


def group_rows(content: Source, columns: Columns) -> list[ImportedCell]:
    """Return the cells of a source, in the order in which they first appear.

    Raises:
        UserError: a seed or a status cannot be used, or a variant has several results with one seed.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for number, row in enumerate(content.rows):
        groups.setdefault((columns.variant_of(row), _seed_of(row, columns, number)), []).append(number)
    cells = []
    for (variant, seed), numbers in groups.items():
        rows = [content.rows[number] for number in numbers]
        curve = content.curves[numbers[0]] if content.curves else []
        if len(rows) > 1:
            rows, curve = _merge(rows, columns, f"variant '{variant}' with seed {seed}")
        cells.append(_cell(variant, seed, rows, curve, columns))
    return cells


def common_items(cells: Sequence[ImportedCell]) -> list[str]:
    """Return the test items that every cell with scores has, in order; empty where cells have no scores."""
    scored = [cell.items for cell in cells if cell.items]
    if not scored:
        return []
    shared = set(scored[0]).intersection(*scored[1:])
    return sorted(shared, key=_natural)


def _merge(rows: list[Row], columns: Columns, place: str) -> tuple[list[Row], Curve]:
    """Return the rows of one cell's last step, and the curve of all steps.

    Raises:
        UserError: there are several rows although neither step nor item tells them apart.
    """
    if columns.step is None:
        if columns.item is None:
            raise UserError(
                f"{place} has {len(rows)} results; name the column that tells them apart with --step or --item, or add "
                "a column to --variant"
            )
        return rows, []
    by_step: dict[float, list[Row]] = {}
    for row in rows:
        step = source.as_number(row.get(columns.step))
        if step is None:
            raise UserError(f"{place} has a row whose {columns.step} is not a number: {row.get(columns.step)!r}")
        by_step.setdefault(step, []).append(row)
    if columns.item is None:
        twice = [step for step, same in by_step.items() if len(same) > 1]
        if twice:
            raise UserError(f"{place} has {columns.step} {twice[0]:g} twice; name the column of test items with --item")
    ordered = [by_step[step] for step in sorted(by_step)]
    special = {*columns.variant, columns.seed, columns.item}
    curve = [_point(same[0], special, columns.step) for same in ordered] if columns.item is None else []
    return ordered[-1], curve


def _cell(variant: str, seed: int, rows: list[Row], curve: Curve, columns: Columns) -> ImportedCell:
    special = {*columns.variant, columns.seed, columns.step, columns.item, source.RUN}
    first = rows[0]
    values = {name: value for name, value in first.items() if name not in special}
    items: dict[str, float] = {}
    if columns.item is not None:
        for row in rows:
            item = str(row.get(columns.item))
            if item in items:
                raise UserError(f"variant '{variant}' with seed {seed} has {columns.item} '{item[:60]}' twice")
            score = source.as_number(row.get(columns.metric))
            if score is not None:
                items[item] = score
        values[columns.metric] = math.fsum(items.values()) / len(items) if items else None
    word = first.get(source.STATUS)
    status = source.status_of(word) if word is not None else "finished"
    settings = {name: first.get(name) for name in columns.variant}
    return ImportedCell(variant, settings, seed, values, status, _with_iteration(curve), items)


def _seed_of(row: Mapping[str, Any], columns: Columns, number: int) -> int:
    value = row.get(columns.seed)
    number_value = source.as_number(value)
    if number_value is None or not number_value.is_integer() or abs(number_value) > _LARGEST:
        raise UserError(
            f"row {number + 1}: the seed, column {columns.seed}, is not a whole number: {str(value)[:40]!r}"
        )
    return int(number_value)


def _point(row: Row, special: set[str | None], step: str) -> dict[str, float]:
    numbers = {name: source.as_number(value) for name, value in row.items() if name not in special and name != step}
    point = {name: number for name, number in numbers.items() if number is not None and name not in KNOWN}
    return {"step": float(row[step]), **point}


def _with_iteration(curve: Curve) -> Curve:
    """Return a curve whose steps have the key that histories have."""
    return [
        {_ITERATION: point["step"], **{name: value for name, value in point.items() if name != "step"}}
        if "step" in point
        else dict(point)
        for point in curve
    ]


def _natural(text: str) -> tuple[int, float, str]:
    """Return a key that sorts numbers by their value and texts by their letters."""
    return (0, float(text), text) if text.isdigit() else (1, 0.0, text)
