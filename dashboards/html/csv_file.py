"""CSV for machines that people will open in a spreadsheet all the same.

A spreadsheet takes a field that begins with = + - @ for a formula and runs it, and names come from whoever wrote the
run. Such a text gets an apostrophe in front, which spreadsheets take for "this is text"; numbers stay as they are.
"""

import csv
import json
from collections.abc import Iterable
from typing import Any, TextIO

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Writer:
    """Rows as RFC 4180 has them, with lines ended by a line feed."""

    def __init__(self, out: TextIO) -> None:
        self._rows = csv.writer(out, lineterminator="\n")

    def writerow(self, row: Iterable[Any]) -> None:
        self._rows.writerow([text(value) if isinstance(value, str) else value for value in row])


def writer(out: TextIO) -> Writer:
    """
    >>> import io
    >>> out = io.StringIO()
    >>> writer(out).writerow(["=1+1", -0.5, "-0.5", "a,b", None])
    >>> out.getvalue()
    '\\'=1+1,-0.5,-0.5,"a,b",\\n'
    """
    return Writer(out)


def text(value: str) -> str:
    """A field that no spreadsheet runs.

    >>> text("=cmd|' /C calc'!A0"), text("-1e-05"), text("srem.size=5")
    ("'=cmd|' /C calc'!A0", '-1e-05', 'srem.size=5')
    """
    return f"'{value}" if value.startswith(_FORMULA) and not _is_number(value) else value


def plain(value: Any) -> Any:
    """A value as a field: texts, floats and nothing as they are, the rest as JSON.

    >>> plain(True), plain([1, 2]), plain("a")
    ('true', '[1, 2]', 'a')
    """
    return value if value is None or isinstance(value, str | float) else json.dumps(value)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
