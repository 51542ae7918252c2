"""Weights & Biases: the runs of a project, as its documentation exports them to CSV.

`api.runs()` gives a table with the columns `name`, `config` and `summary`, the last two as the texts of Python
dictionaries. The table that the web page exports has a column per setting and metric, and its runs have a state.
https://docs.wandb.ai/guides/track/public-api-guide
"""

import ast
import json
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.runs.imported import source, tables
from raysearch.runs.imported.registry import READERS, SourceReader
from raysearch.runs.imported.source import Row, Source

_NESTED = ("config", "summary")
_MAX_FIRST_LINE = 1 << 16
_STATES = ("finished", "crashed", "failed", "killed", "running")


def read_export(path: Path, part: str | None = None) -> Source:
    """Read an export of the API.

    Raises:
        UserError: a config or a summary is not a dictionary.
    """
    rows: list[Row] = []
    settings: dict[str, None] = {}
    for number, exported in enumerate(tables.csv_rows(path), start=1):
        config = _dictionary(exported["config"], path, number)
        summary = _dictionary(exported["summary"], path, number)
        setting_values = source.flat_values({name: value for name, value in config.items() if not _is_internal(name)})
        metrics = source.flat_values({name: value for name, value in summary.items() if not _is_internal(name)})
        row = {**{name: value for name, value in metrics.items() if name not in setting_values}, **setting_values}
        row[source.RUN] = exported.get("name")
        if exported.get("state") is not None:
            row[source.STATUS] = exported["state"]
        settings |= dict.fromkeys(setting_values)
        rows.append(row)
    return Source(rows, tuple(settings))


def _dictionary(text: Any, path: Path, number: int) -> dict[str, Any]:
    """Return the dictionary that a text is: JSON, or a literal of Python, which is parsed and not executed."""
    word = str(text or "{}")
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(word)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(value, dict):
            return {str(name): entry for name, entry in value.items()}
    raise UserError(f"'{path}', run {number}: {word[:60]!r} is not a dictionary")


def _is_internal(name: str) -> bool:
    """Return whether a name is one of the library's own, such as `_wandb` and `_runtime`."""
    return name.startswith("_")


def _is_export(path: Path) -> bool:
    if not path.is_file() or path.suffix.lower() != ".csv":
        return False
    with path.open("rb") as file:
        first_line = file.readline(_MAX_FIRST_LINE).decode("utf-8", "replace")
    names = [name.strip().strip('"') for name in first_line.split(",")]
    return all(name in names for name in _NESTED)


READERS.register("W&B export", SourceReader(_is_export, read_export))
