"""A paper's numbers, looked up by a variant's levels.

A file in `search_spaces/published` begins with `# key: value` lines, followed by CSV: one column per factor with levels
as the study declares them, a column named like the metric, `table`, the number of the paper's table, and perhaps
`ci95`, the half-width of the number's interval. A column may also be a config path that the study does not vary: the
number then belongs to runs with that setting. In the first lines, `{model.backbone}` stands for the row's setting.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from raysearch.core import UserError

_BY_DATA = "{data}"  # in a name: the layout of the run's data set
_NO_FACTORS = ("table", "ci95")  # columns that describe a number
_NAME = re.compile(r"\w[\w-]*(/\w[\w-]*)*", re.ASCII)


@dataclass(frozen=True)
class Published:
    """The numbers of one file and their source."""

    source: Mapping[str, str]  # paper, protocol and metric, from the file's first lines
    rows: tuple[Mapping[str, Any], ...]

    @property
    def paper(self) -> str:
        """Return the paper's citation."""
        return self.source.get("paper", "published")

    def find(self, levels: Mapping[str, Any], metric: str) -> tuple[float, str] | None:
        """Return the value and table at `levels` (factor -> declared value), or None without such a number."""
        for row in self.rows:
            factors = set(row) - {metric, *_NO_FACTORS}
            if (
                factors
                and isinstance(row.get(metric), float | int)
                and all(_same(row, levels, factor) for factor in factors)
            ):
                return float(row[metric]), str(row.get("table", ""))
        return None

    def along(self, factor: str, levels: Mapping[str, Any], metric: str) -> list[tuple[Any, float]]:
        """Return (level, value) over one factor, with the others at `levels`; each level once."""
        values: dict[Any, float] = {}
        for row in self.rows:
            others = set(row) - {metric, *_NO_FACTORS, factor}
            known = factor in row and isinstance(row.get(metric), float | int)
            if known and all(_same(row, levels, other) for other in others):
                values.setdefault(row[factor], float(row[metric]))
        return list(values.items())

    def beyond(self, variants: Sequence[Mapping[str, Any]], metric: str) -> list[tuple[dict[str, Any], float]]:
        """Return (levels, value) for names in the paper that no variant has, such as a method that is only cited.

        Args:
            variants: levels of each variant, factor -> declared value.
            metric: the metric's column.

        A level that is no name, such as a code length, must be one of the variants'.
        """
        known: dict[str, list[Any]] = {}
        for levels in variants:
            for factor, level in levels.items():
                known.setdefault(factor, []).append(level)
        cited = []
        for row in self.rows:
            levels = {factor: level for factor, level in row.items() if factor not in (metric, *_NO_FACTORS)}
            others = [level for factor, level in levels.items() if level not in known.get(factor, [])]
            are_names = bool(others) and all(isinstance(level, str) for level in others)
            if are_names and isinstance(row.get(metric), float | int):
                cited.append((levels, float(row[metric])))
        return cited


def read_published(name: str | None, data: str | None = None) -> Published | None:
    """Return the published numbers of `paper/table`; None if there are none.

    Args:
        name: the name of a file; in `paper/table_{data}` the layout of the run's data set is inserted. Studies of
            earlier versions name `paper/table`, which also means the file of the run's data set.
        data: the layout of the run's data set.

    Raises:
        UserError: the name could lead out of the folder of published numbers.
    """
    if not name:
        return None
    if _BY_DATA in name:
        if not data or not _NAME.fullmatch(data):
            return None
        name = name.replace(_BY_DATA, data)
    if not _NAME.fullmatch(name):
        raise UserError(f"published numbers are named paper/table, not {name[:80]!r}")
    names = [name]
    if data and _NAME.fullmatch(data):
        names.append(f"{name}_{data}")
    paths = (resources.files("search_spaces").joinpath("published", *f"{name}.csv".split("/")) for name in names)
    return next((parse(path.read_text(encoding="utf-8")) for path in paths if path.is_file()), None)


def data_sets(name: str | None) -> list[str]:
    """Return the data sets for which `paper/table_{data}` has numbers; `paper/table` means the same."""
    folder, _, table = (name or "").rpartition("/")
    if not table or not _NAME.fullmatch(folder):
        return []
    before, after = (table if _BY_DATA in table else f"{table}_{_BY_DATA}").split(_BY_DATA, 1)
    files = resources.files("search_spaces").joinpath("published", *folder.split("/"))
    names = [file.name.removesuffix(".csv") for file in files.iterdir()] if files.is_dir() else []
    return sorted(
        file.removeprefix(before).removesuffix(after)
        for file in names
        if file.startswith(before) and file.endswith(after)
    )


def parse(text: str) -> Published:
    """Return the numbers of a file's text.

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
    published = row[factor]
    level = levels[factor]
    return published == level and isinstance(published, bool) == isinstance(level, bool)  # 1 is not True


def _value(word: str | None) -> Any:
    text = (word or "").strip()
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except json.JSONDecodeError:
        return None if text.lower() in ("", "none") else text
