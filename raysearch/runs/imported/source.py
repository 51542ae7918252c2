"""The content of a source: a table of plain values, and which of its columns are settings.

Sources come from elsewhere. Sizes are limited, texts stay texts, and nothing of a source is imported or executed.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysearch.core import UserError

STATUS = "status"  # column: "finished", "failed" or "stopped"
ERROR = "error"  # column: why a run failed
RUN = "run"  # column: the name of a run in its tool

MAX_FILE_BYTES = 1 << 28
MAX_ROWS = 2_000_000
MAX_COLUMNS = 5_000
MAX_RUNS = 20_000
_MAX_TEXT = 10_000  # characters of a value; histories and curves are longer, and are not values
_MAX_DEPTH = 8
_LARGEST = 2**63  # larger numbers are no results; NaN is not smaller

_STATUSES = {
    "finished": ("finished", "complete", "completed", "success", "succeeded", "terminated", "done", "ok"),
    "failed": ("failed", "fail", "failure", "crashed", "error", "errored"),
    "stopped": ("stopped", "pruned", "killed", "preempted", "cancelled", "canceled", "running", "pending", "scheduled"),
}

Row = dict[str, Any]  # column -> text, number, boolean or None
Curve = list[dict[str, float]]  # per logged step: name -> number


@dataclass(frozen=True)
class Source:
    """The content of a source.

    Attributes:
        rows: one per run; of a table without `curves` there may be several per run, one per step or test item.
        settings: columns that are known to be settings; None if the source does not tell settings from metrics.
        curves: the learning curve of each row, in the order of `rows`; empty if the source has none.
        name: what the source calls the study; None without a name.
    """

    rows: Sequence[Row]
    settings: tuple[str, ...] | None = None
    curves: Sequence[Curve] = field(default_factory=tuple)
    name: str | None = None

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in the order in which they first appear."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


def status_of(word: Any) -> str:
    """Return the status that a tool's word means.

    Raises:
        UserError: the word is unknown.

    >>> status_of("FINISHED"), status_of("crashed"), status_of("PRUNED")
    ('finished', 'failed', 'stopped')
    """
    text = str(word).strip().lower()
    for status, words in _STATUSES.items():
        if text in words:
            return status
    known = ", ".join(word for words in _STATUSES.values() for word in words)
    raise UserError(f"unknown status '{str(word)[:40]}' of a run; known: {known}")


def is_status(word: Any) -> bool:
    """Return whether a value is a status that `status_of` knows."""
    return any(str(word).strip().lower() in words for words in _STATUSES.values())


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        UserError: it cannot be read, or is too large.
    """
    try:
        if not path.is_file():
            raise UserError(f"'{path}' is not a file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"'{path}' is larger than {MAX_FILE_BYTES >> 20} MiB; leave out what is not needed")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror or error}") from None


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file; the errors are those of `read_bytes`."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"'{path}' is not UTF-8 text; save it as UTF-8") from None


def read_json(path: Path) -> Any:
    """Return the value of a JSON file; the errors are those of `read_text`, or that it is no JSON."""
    try:
        return json.loads(read_text(path))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is not JSON: {error}") from None


def flat_values(values: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Row:
    """Return nested values as one row, with dotted names. A list becomes its JSON text; other objects are left out.

    >>> flat_values({"model": {"name": "vit"}, "layers": [1, 2], "flag": True})
    {'model.name': 'vit', 'layers': '[1, 2]', 'flag': True}
    """
    row: Row = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if depth < _MAX_DEPTH:
                row |= flat_values(value, f"{name}.", depth + 1)
        elif isinstance(value, list | tuple):
            row[name] = json.dumps(value, default=str)[:_MAX_TEXT]
        else:
            row[name] = plain_value(value)
    return row


def plain_value(value: Any) -> Any:
    """Return a value as None, a boolean, a number or a text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if hasattr(value, "item"):  # of numpy
        return plain_value(value.item())
    return str(value)[:_MAX_TEXT]


def parse_value(text: str | None) -> Any:
    """Return the number or boolean that a text is, or the text.

    >>> [parse_value(text) for text in ("3", "0.5", "True", "vit", "", "1e400")]
    [3, 0.5, True, 'vit', None, '1e400']
    """
    word = (text or "").strip()
    if word in ("", "None", "null"):
        return None
    if word in ("True", "true", "False", "false"):
        return word in ("True", "true")
    try:
        number = float(word)
        if word.lstrip("+-").isdigit() and len(word) < 18:
            return int(word)
    except ValueError:
        return word[:_MAX_TEXT]
    return number if math.isfinite(number) or "n" in word.lower() else word


def as_number(value: Any) -> float | None:
    """Return a number that is finite and fits a result, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -_LARGEST < value < _LARGEST else None


def check_sizes(rows: int, columns: int, place: object) -> None:
    """Check that a table has a size that a study can have.

    Raises:
        UserError: it has no rows, or too many rows or columns.
    """
    if not rows:
        raise UserError(f"'{place}' holds no results")
    if rows > MAX_ROWS or columns > MAX_COLUMNS:
        raise UserError(
            f"'{place}' has {rows:,} rows and {columns:,} columns; at most {MAX_ROWS:,} and {MAX_COLUMNS:,} are read"
        )


def choose_part(parts: Iterable[str], wanted: str | None, kind: str, place: object) -> str:
    """Return the name of the part of a source that is meant, such as one of its experiments.

    Raises:
        UserError: there is no part, no such part, or several and none was named.
    """
    names = list(parts)
    if wanted is not None and wanted in names:
        return wanted
    shown = ", ".join(f"'{name}'" for name in names[:20]) + (f" and {len(names) - 20} more" if names[20:] else "")
    if not names:
        raise UserError(f"'{place}' holds no {kind} with results")
    if wanted is not None:
        raise UserError(f"'{place}' holds no {kind} '{wanted}'; it holds {shown}")
    if len(names) > 1:
        raise UserError(f"'{place}' holds several of kind {kind}: {shown}; choose with --study")
    return names[0]
