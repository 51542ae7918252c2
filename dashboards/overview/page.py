"""The page of an overview: a table of runs that the reader sorts."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from dashboards.html import Cell, Column, Markup, Table, document, formats, tag
from dashboards.overview.rows import RunRow
from raysearch.core import atomic, sanitize

INDEX = "index.html"


def write_overview(rows: Sequence[RunRow], place: str, directory: Path) -> Path:
    """Write the page.

    Args:
        rows: the runs.
        place: the path or URI of their folder.
        directory: where to write.

    Returns:
        The path of `index.html`.

    Raises:
        WriteError: the directory cannot be written.
    """
    return atomic.write_text(directory / INDEX, build_page(rows, place, directory))


def build_page(rows: Sequence[RunRow], place: str, directory: Path) -> str:
    """Return the HTML of the page, whose links are relative to a directory."""
    return document(f"Runs in {place}", _header(rows, place), _table(rows, directory))


def summary(rows: Sequence[RunRow]) -> str:
    """Return the number of runs by their state.

    >>> summary([RunRow("a", reason="damaged")])
    '1 run: 1 cannot be read'
    """
    states = [row.outcome.state if row.outcome is not None else "unreadable" for row in rows]
    words = {"complete": "complete", "running": "running", "incomplete": "incomplete", "unreadable": "cannot be read"}
    parts = [f"{states.count(state)} {text}" for state, text in words.items() if state in states]
    return f"{formats.count(len(rows), 'run')}: {', '.join(parts)}"


def _header(rows: Sequence[RunRow], place: str) -> Markup:
    return tag(
        "header",
        tag("p", "raysearch \N{MIDDLE DOT} overview", class_="brand"),
        tag("h1", f"Runs in {place}"),
        tag("p", f"{summary(rows)}.", class_="note"),
    )


def _table(rows: Sequence[RunRow], directory: Path) -> Markup:
    def _name(row: RunRow) -> Cell:
        return Cell(row.name, _report_link(row, directory))

    columns: list[Column[RunRow]] = [
        Column("Run", _name, kind="name"),
        Column("Question", _question, kind="text", css_class="wide"),
        Column("Answer", _answer, kind="text", css_class="wide"),
        Column("Cells", _cells),
        Column("Time", _time),
        Column("Cost", _cost),
        Column("Date", _date),
    ]
    return Table(columns, rows, note="Cells: finished of planned. Time: of the sweep, by the clock.").to_html()


def _report_link(row: RunRow, directory: Path) -> Markup | None:
    if row.report is None:
        return None
    path = os.path.relpath(row.report.absolute(), directory.absolute())
    return tag("small", tag("a", "report", href=f"./{quote(os.fsencode(path))}", aria_label=f"report of {row.name}"))


def _question(row: RunRow) -> str:
    return "" if row.outcome is None else sanitize.one_line(row.outcome.question)


def _answer(row: RunRow) -> Cell:
    if row.outcome is None:
        return Cell("", tag("span", row.reason, class_="hole"))
    return Cell(sanitize.one_line(row.outcome.answer), None if row.outcome.state == "complete" else row.outcome.state)


def _cells(row: RunRow) -> Cell:
    if row.outcome is None:
        return Cell("")
    cells = row.outcome.cells
    failed = tag("small", f"{cells.failed} failed", class_="hole") if cells.failed else None
    return Cell(f"{cells.finished:,} of {cells.planned:,}", failed, sort_key=cells.planned)


def _time(row: RunRow) -> Cell:
    seconds = row.outcome.seconds if row.outcome else None
    return Cell(formats.seconds(seconds) if seconds is not None else "", sort_key=seconds)


def _cost(row: RunRow) -> Cell:
    dollars = row.outcome.dollars if row.outcome else None
    return Cell(f"${dollars:,.2f}" if dollars else "", sort_key=dollars)


def _date(row: RunRow) -> Cell:
    if row.date is None:
        return Cell("")
    return Cell(f"{row.date:%Y-%m-%d}", f"{row.date:%H:%M}", sort_key=row.date.timestamp())
