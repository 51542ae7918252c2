"""A paper's numbers, found for the variants that they belong to.

A file of `search_spaces/published` opens with `# key: value` lines and goes on as CSV: a column a factor with levels as
the study declares them, a column named as the metric, and `table`, the paper's table that the number stands in.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from raysearch.core.errors import UserError

_NAME = re.compile(r"\w[\w-]*(/\w[\w-]*)*", re.ASCII)


@dataclass(frozen=True)
class Published:
    """The numbers of one file and where they come from."""

    source: Mapping[str, str]  # paper, protocol, metric as the file's first lines say
    rows: tuple[Mapping[str, Any], ...]

    @property
    def paper(self) -> str:
        return self.source.get("paper", "published")

    def find(self, levels: Mapping[str, Any], metric: str) -> tuple[float, str] | None:
        """The value and table at `levels` (factor -> declared value), or None where the paper says nothing."""
        for row in self.rows:
            factors = set(row) - {metric, "table"}
            if factors and isinstance(row.get(metric), float | int) and all(_same(row, levels, one) for one in factors):
                return float(row[metric]), str(row.get("table", ""))
        return None

    def along(self, factor: str, levels: Mapping[str, Any], metric: str) -> list[tuple[Any, float]]:
        """(level, value) over one factor, the others at `levels`; each level once."""
        found: dict[Any, float] = {}
        for row in self.rows:
            others = set(row) - {metric, "table", factor}
            known = factor in row and isinstance(row.get(metric), float | int)
            if known and all(_same(row, levels, one) for one in others):
                found.setdefault(row[factor], float(row[metric]))
        return list(found.items())

    def beyond(self, variants: Sequence[Mapping[str, Any]], metric: str) -> list[tuple[dict[str, Any], float]]:
        """(levels, value) of what the paper names and no variant is, such as a method that was only cited.

        Args:
            variants: levels of each, factor -> declared value.
            metric: the column.
        """
        known: dict[str, list[Any]] = {}
        for levels in variants:
            for factor, level in levels.items():
                known.setdefault(factor, []).append(level)
        found = []
        for row in self.rows:
            levels = {factor: level for factor, level in row.items() if factor not in (metric, "table")}
            others = [level for factor, level in levels.items() if level not in known.get(factor, [])]
            if len(others) == 1 and isinstance(others[0], str) and isinstance(row.get(metric), float | int):
                found.append((levels, float(row[metric])))
        return found


def read(name: str | None) -> Published | None:
    """The published numbers of `paper/name`; None where there are none.

    Raises:
        UserError: a name that could lead out of the folder of published numbers.
    """
    if not name:
        return None
    if not _NAME.fullmatch(name):
        raise UserError(f"published numbers are named as paper/table, not {name[:80]!r}")
    path = resources.files("search_spaces").joinpath("published", *f"{name}.csv".split("/"))
    return parse(path.read_text(encoding="utf-8")) if path.is_file() else None


def parse(text: str) -> Published:
    """
    >>> parse("# paper: A\\nsrem.size,map,table\\n32,0.5,3\\n").find({"srem.size": 32}, "map")
    (0.5, '3')
    """
    lines = text.splitlines()
    head = [line[1:].partition(":") for line in lines if line.startswith("#")]
    body = csv.DictReader(line for line in lines if line.strip() and not line.startswith("#"))
    rows = tuple({name.strip(): _value(word) for name, word in row.items()} for row in body)
    return Published({key.strip(): value.strip() for key, _, value in head}, rows)


def _same(row: Mapping[str, Any], levels: Mapping[str, Any], factor: str) -> bool:
    if factor not in levels:
        return False
    one, other = row[factor], levels[factor]
    return one == other and isinstance(one, bool) == isinstance(other, bool)  # 1 is no True


def _value(word: str | None) -> Any:
    text = (word or "").strip()
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except json.JSONDecodeError:
        return None if text.lower() in ("", "none") else text
