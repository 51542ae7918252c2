"""Results as plain rows, which older and interrupted runs may not have filled."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa


def loads(text: str | None, default: Any = None) -> Any:
    """JSON of a column that older runs may not have.

    >>> loads('[1]'), loads(None, {}), loads("no JSON")
    ([1], {}, None)
    """
    try:
        return json.loads(text) if text else default
    except json.JSONDecodeError:
        return default


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are there.

    >>> mean([1.0, None, 3.0]), mean([None])
    (2.0, None)
    """
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """A dict a row, in which equal texts are one: most cells of a run say the same of their config and machine."""
    texts: dict[str, str] = {}
    columns = []
    for column in table.columns:
        values = column.to_pylist()
        columns.append([texts.setdefault(v, v) if isinstance(v, str) else v for v in values])
    return [dict(zip(table.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


class Histories(Mapping[str, list[list[dict[str, Any]]]]):
    """Histories by variant. Of a large run a few are drawn, and only those are taken apart and kept.

    Args:
        variants: name and ended cells of each.
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
            histories = [loads(text) for text in self._texts[variant]]
            self._read[variant] = [one for one in histories if isinstance(one, list) and one]
        return self._read[variant]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)
