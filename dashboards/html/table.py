"""One table in every form: CSV for machines, Markdown and LaTeX for papers, and the terminal's and the page's.

A table is a list of columns over rows. A column turns a row into a cell, so that a new column is one line.
"""

import csv
import io
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from dashboards.html import latex_table, markup, verdicts
from dashboards.html.markup import Markup, tag
from dashboards.html.paper_text import markdown_text
from raysearch.core.console import TerminalColumn, TerminalTable
from raysearch.core.sanitize import csv_text

Row = TypeVar("Row")

_UNBOUNDED = 10_000  # columns of a terminal
_ARROWS = {"better": "↑", "worse": "↓"}


@dataclass(frozen=True)
class Cell:
    """A cell for people.

    Attributes:
        text: the cell's main text.
        detail: smaller text below it, such as an interval; Markup is inserted into the page as it is.
        sort_key: the number by which the page sorts the column; a cell without one comes last.
        half_width: half the width of the number's interval, which follows the text as "± 0.010" in tables for papers.
        verdict: "better" or "worse" sets the text in bold, with an arrow; the page takes it as a CSS class.
        is_bold: whether a number is bold, where that means another thing than its arrow; None: as the verdict has it.
        beside: text behind a number in Markdown and LaTeX, which have no detail.
    """

    text: str
    detail: str | Markup | None = None
    sort_key: float | None = None
    verdict: str = ""
    half_width: str = ""
    is_bold: bool | None = None
    beside: str = ""

    @property
    def is_set_bold(self) -> bool:
        """Return whether Markdown and LaTeX set the number in bold."""
        return self.verdict in _ARROWS if self.is_bold is None else self.is_bold


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column.

    Attributes:
        title: its header.
        cell: row -> `Cell`, or a plain value.
        kind: "number" aligns right, "name" and "text" align left; a name may break. "verdict" is colored in the page.
        css_class: class of the page's cells of a text column.
        wrap: whether the terminal may break the cells into lines.
        widths: least and largest width in the terminal, in characters.
        group: header over this column and its neighbors of the same group.
    """

    title: str | Markup
    cell: Callable[[Row], Any]
    kind: Literal["name", "number", "text", "verdict"] = "number"
    css_class: str | None = None
    wrap: bool = False
    widths: tuple[int | None, int | None] = (None, None)
    group: str = ""

    @property
    def whole_title(self) -> str:
        """Return the title with that of the group, for a table with one line of headers."""
        return f"{self.group} {self.title}".strip()

    @property
    def is_number(self) -> bool:
        """Return whether the column holds numbers, which are aligned to the right."""
        return self.kind == "number"

    def people_cell(self, row: Row) -> Cell:
        """Return the cell of a row with its text as people read it."""
        value = self.cell(row)
        if isinstance(value, Cell):
            return value
        return Cell("" if value is None else str(value))


@dataclass(frozen=True)
class Table(Generic[Row]):
    """Columns over rows.

    Attributes:
        columns: from left to right.
        rows: from top to bottom.
        note: a sentence about the table: Markdown's last line, LaTeX's comment, the caption elsewhere.
        title: the terminal's title.
        row_style: row -> its style in the terminal.
        ends_section: whether a rule follows a row.
    """

    columns: Sequence[Column[Row]]
    rows: Sequence[Row]
    note: str = ""
    title: str = ""
    row_style: Callable[[Row], str] = lambda row: ""
    ends_section: Callable[[Row], bool] = lambda row: False

    def to_csv(self) -> str:
        """Return RFC 4180 text with lines that end in a line feed. Texts cannot be run as formulas by a spreadsheet."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([csv_text(column.whole_title) for column in self.columns])
        for row in self.rows:
            values = [column.cell(row) for column in self.columns]
            writer.writerow([csv_text(value) if isinstance(value, str) else value for value in values])
        return out.getvalue()

    def to_records(self) -> list[dict[str, Any]]:
        """Return title of the column -> value, per row, for JSON; it has no number for infinity."""
        return [{column.whole_title: _finite(column.cell(row)) for column in self.columns} for row in self.rows]

    def to_markdown(self) -> str:
        """Return a GitHub table with the note below it."""
        lines = [
            _markdown_line([markdown_text(column.whole_title) for column in self.columns]),
            "|" + "|".join("---:" if column.is_number else "---" for column in self.columns) + "|",
        ]
        lines += [
            _markdown_line([_markdown_cell(column, column.people_cell(row)) for column in self.columns])
            for row in self.rows
        ]
        note = f"\n\n{markdown_text(self.note)}\n" if self.note else "\n"
        return "\n".join(lines) + note

    def to_latex(self) -> str:
        """Return a booktabs table; see `latex_table`."""
        return latex_table.latex(self)

    def to_terminal(self, compact: bool = False) -> TerminalTable:
        """Return a table for the terminal, with details below the texts; `compact` leaves out most of the frame."""
        rows = list(self.rows)
        columns = []
        for column in self.columns:
            cells = [column.people_cell(row) for row in rows]
            texts = [f"{cell.text}\n{cell.detail}".rstrip() if cell.detail else cell.text for cell in cells]
            kind = column.kind if column.kind in ("name", "number") else "text"
            columns.append(TerminalColumn(column.whole_title, texts, kind, wrap=column.wrap, widths=column.widths))
        return TerminalTable(
            columns,
            self.title,
            self.note,
            "light" if compact else "full",
            [self.row_style(row) for row in rows],
            [index for index, row in enumerate(rows) if self.ends_section(row)],
        )

    def to_html(self) -> Markup:
        """Return a table of the page, which a reader may sort; the first column holds the names of the rows."""
        body = [[_html_cell(column, column.people_cell(row)) for column in self.columns] for row in self.rows]
        groups = _grouped(self.columns)
        header = [column.title for column in self.columns]
        return markup.table_element(header, body, self.note or None, groups if any(name for name, _ in groups) else ())


@dataclass(frozen=True)
class FirstThatFits:
    """The first drawing, or the second on a terminal that is too narrow for it.

    >>> Console(width=4).print(FirstThatFits("wide words", "few"))
    few
    """

    wide: RenderableType
    narrow: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = console.measure(self.wide, options=options.update(max_width=_UNBOUNDED)).maximum
        yield self.wide if width <= options.max_width else self.narrow


def csv_value(value: Any) -> Any:
    """Return a value for CSV: texts, floats and None as they are, other values as JSON.

    >>> csv_value(True), csv_value([1, 2]), csv_value("a")
    ('true', '[1, 2]', 'a')
    """
    return value if value is None or isinstance(value, str | float) else json.dumps(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _grouped(columns: Sequence[Column[Any]]) -> list[tuple[str, int]]:
    """Return the groups of columns from left to right, with the number of their columns."""
    return [(name, len(list(members))) for name, members in itertools.groupby(columns, lambda column: column.group)]


def _markdown_line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown_cell(column: Column[Any], cell: Cell) -> str:
    if not column.is_number:
        return markdown_text(cell.text)
    text = f"{cell.text} \N{PLUS-MINUS SIGN} {cell.half_width}" if cell.half_width else cell.text
    number = f"**{text}**" if cell.is_set_bold and text else text
    return " ".join(part for part in (number, _ARROWS.get(cell.verdict), markdown_text(cell.beside)) if part)


def _html_cell(column: Column[Any], cell: Cell) -> Markup:
    detail = cell.detail if isinstance(cell.detail, Markup) or not cell.detail else tag("small", cell.detail)
    if column.kind == "name":
        return markup.join(markup.breakable_name(cell.text), detail or None)
    if column.kind == "number":
        number = tag("strong", cell.text) if cell.is_bold else cell.text
        return markup.number_cell(number, detail or "", cell.sort_key)
    words = (
        tag("span", cell.text, class_=verdicts.verdict_class(cell.verdict)) if column.kind == "verdict" else cell.text
    )
    return tag("td", words, detail or None, class_=column.css_class)
