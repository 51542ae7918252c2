"""Results as plain rows. Older and interrupted runs may lack values, and a file may come from elsewhere."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from raysearch.core import UserError, sanitize

_NUMBERS = {int, float, bool}
LARGEST = 1e300  # larger numbers are not measurements, and their sums overflow


def loads(text: str | None, default: Any = None) -> Any:
    """Return the JSON value of a column that older runs may lack, or a default.

    >>> loads('[1]'), loads(None, {}), loads("no JSON")
    ([1], {}, None)
    """
    try:
        value = json.loads(text) if text else default
    except (ValueError, RecursionError):
        return default
    return sanitize.escape_nested(value) if text and "\\u" in text else value


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a value that should be a mapping; an empty one if it is not.

    >>> mapping({"a": 1}), mapping([1])
    ({'a': 1}, {})
    """
    return value if isinstance(value, Mapping) else {}


def history(text: str | None) -> list[dict[str, Any]]:
    """Return a cell's iterations with their texts and numbers; empty for other content.

    >>> history('[{"loss": 0.5, "more": [1]}]'), history('{"loss": 0.5}'), history(None)
    ([{'loss': 0.5}], [], [])
    """
    steps = loads(text)
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        return []
    # a large run has half a million of these values, so their types are looked up
    return [
        {
            key: value
            for key, value in step.items()
            if type(value) is str or (type(value) in _NUMBERS and -LARGEST < value < LARGEST)
        }
        for step in steps
    ]


def is_number(value: Any) -> bool:
    """Return whether a metric has a value. A finished cell without a finite value counts as failed.

    >>> is_number(0.5), is_number(None), is_number(float("nan"))
    (True, False, False)
    """
    return value is not None and math.isfinite(value)


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are numbers; a cell from elsewhere may hold a text in their place.

    >>> mean([1.0, None, 3.0]), mean([None])
    (2.0, None)
    """
    present = [value for value in values if isinstance(value, int | float)]
    return sum(present) / len(present) if present else None


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return one dict per row, with control characters in texts written out.

    Equal texts are one object, because most cells of a run have the same config and machine.
    """
    texts: dict[str, str] = {}
    columns = []
    for column in table.columns:
        values = column.to_pylist()
        for value in values:
            if isinstance(value, str) and value not in texts:
                texts[value] = sanitize.escape_controls(value)
        columns.append([texts[value] if isinstance(value, str) else value for value in values])
    names = [sanitize.escape_controls(name) for name in table.column_names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def typed(rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return some columns of rows as a table.

    Args:
        rows: column -> value each.
        types: column -> its type.

    Raises:
        UserError: a value is not of its column's type.
    """
    columns = {}
    for key, data_type in types.items():
        try:
            columns[key] = pa.array([row.get(key) for row in rows], data_type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            raise UserError(f"column '{key}' of the results holds a value that is not {data_type}") from None
    return pa.table(columns)


class Histories(Mapping[str, list[list[dict[str, Any]]]]):
    """Histories by variant. A report of a large run draws few of them, so each is parsed when it is first read.

    Args:
        variants: (name, rows of its ended cells) of each variant.
    """

    def __init__(self, variants: Iterable[tuple[str, list[dict[str, Any]]]]) -> None:
        self._texts: dict[str, list[str]] = {}
        for name, rows in variants:
            texts = [row["history"] for row in rows if row["status"] == "finished" and row.get("history")]
            if any(text not in ("[]", "null") for text in texts):
                self._texts[name] = texts
        self._read: dict[str, list[list[dict[str, Any]]]] = {}

    def __getitem__(self, variant: str) -> list[list[dict[str, Any]]]:
        if variant not in self._read:
            self._read[variant] = [steps for text in self._texts[variant] if (steps := history(text))]
        return self._read[variant]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)
