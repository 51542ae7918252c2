"""Output to a terminal, a pipe or a log: names are shown as they are, and tables fit narrow terminals.

Names come from files, studies and stores of other people. Every text that reaches a `Console` is therefore plain text:
it is neither markup nor emoji code, its control characters are written as escape sequences, and characters that the
output's encoding lacks are replaced before the layout is computed.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import rich.console
from rich import box
from rich.cells import cell_len
from rich.console import ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from raysearch.core import sanitize

LOG_WIDTH = 140  # columns of a file or a pipe; rich's 80 would break names in tables
_LEAST_WIDTH = 20  # narrower terminals wrap lines by themselves
_NAME_WIDTH = 12  # columns that the names of a table get at least


class Console(rich.console.Console):
    """A console that prints every text literally and safely; styles are given as arguments.

    Args:
        stderr: whether to print to standard error.
        options: of `rich.console.Console`.
    """

    def __init__(self, stderr: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text for printing; see `rich.console.Console.render_str`."""
        return super().render_str(self.printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object, whatever its texts were made of; see `rich.console.Console.render`."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else self.printable(text), style, control)

    def printable(self, text: str) -> str:
        """Return a text as this console shows it."""
        return sanitize.encodable(sanitize.escape_controls(text), self.encoding)


def open_console(stderr: bool = False) -> Console:
    """Return a console as wide as COLUMNS, if that is a number, else as the terminal. A log has no width of its own."""
    screen = Console(stderr=stderr)
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return Console(stderr=stderr, width=max(int(columns), _LEAST_WIDTH))
    if not screen.is_terminal:
        return Console(stderr=stderr, width=LOG_WIDTH)
    return Console(stderr=stderr, width=shutil.get_terminal_size().columns) if columns else screen


@dataclass(frozen=True)
class TerminalColumn:
    """A column of a table in the terminal.

    Attributes:
        title: its header.
        cells: its texts, one per row; a text may have several lines.
        kind: a "name" may be folded anywhere; a "number" is aligned right.
        keep: whether the column is never left out; None: if it holds names.
        wrap: whether a text may be broken into lines between words.
        widths: least and largest width, in characters.
    """

    title: str
    cells: Sequence[str]
    kind: Literal["name", "number", "text"] = "text"
    keep: bool | None = None
    wrap: bool = False
    widths: tuple[int | None, int | None] = (None, None)

    @property
    def is_optional(self) -> bool:
        """Return whether a narrow terminal may leave the column out."""
        return not (self.kind == "name" if self.keep is None else self.keep)


@dataclass(frozen=True)
class TerminalTable:
    """A table that fits the terminal: names keep their place, and the last of the other columns are left out.

    Attributes:
        columns: from left to right, with equally many cells.
        title: a line above the table.
        note: a line below the table.
        frame: "full", "light" with a rule below the header, or "none".
        row_styles: a style per row; empty for none.
        last_rows: indices of rows that a rule follows.
        header: whether the titles are printed.
    """

    columns: Sequence[TerminalColumn]
    title: str = ""
    note: str = ""
    frame: Literal["full", "light", "none"] = "none"
    row_styles: Sequence[str] = ()
    last_rows: Sequence[int] = ()
    header: bool = True

    def __rich_console__(self, console: rich.console.Console, options: ConsoleOptions) -> RenderResult:
        shown = list(self.columns)
        omitted: list[str] = []
        while not self._fits(shown, console, options):
            optional = [index for index, column in enumerate(shown) if column.is_optional]
            if not optional or len(shown) == 1:
                break
            omitted.insert(0, shown.pop(optional[-1]).title)
        narrow = f"too narrow for: {', '.join(title or 'verdict' for title in omitted)}" if omitted else ""
        clean = _cleaner(console)
        if self.title:
            yield Text(clean(self.title), style="dim", no_wrap=False, overflow="fold")
        yield self._draw(shown, clean)
        for line in (self.note, narrow):
            if line:
                yield Text(clean(line), style="dim italic", no_wrap=False, overflow="fold")

    def __rich_measure__(self, console: rich.console.Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._draw(self.columns, _cleaner(console)))

    def _fits(self, columns: Sequence[TerminalColumn], console: rich.console.Console, options: ConsoleOptions) -> bool:
        unbounded = options.update(max_width=10_000)
        narrowest = self._draw(columns, _cleaner(console), narrowest=True)
        return console.measure(narrowest, options=unbounded).maximum <= options.max_width

    def _draw(self, columns: Sequence[TerminalColumn], clean: Callable[[str], str], narrowest: bool = False) -> Table:
        """Return the table; `narrowest` draws it as narrow as it can be read."""
        table = Table(header_style="bold", show_header=self.header)
        if self.frame != "full":
            table.box = box.SIMPLE if self.frame == "light" else None
            table.padding = (0, 1, 0, 0) if self.frame == "light" else (0, 2, 0, 0)
            table.show_edge = False
        for column in columns:
            least, largest = column.widths
            is_name = column.kind == "name"
            foldable = is_name or column.wrap
            if foldable:
                texts = [column.title, *column.cells] if self.header else column.cells
                longest = max((cell_len(word) for text in texts for word in clean(text).split()), default=1)
                least = max(1, min(_NAME_WIDTH if is_name else longest, longest))
            table.add_column(
                Text(clean(column.title)),
                justify="right" if column.kind == "number" else "left",
                overflow="fold" if foldable else "ellipsis",
                no_wrap=not foldable,
                min_width=least,
                max_width=least if narrowest and foldable else largest,
            )
        for index, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
            style = self.row_styles[index] if self.row_styles else ""
            table.add_row(*(Text(clean(cell)) for cell in cells), style=style, end_section=index in self.last_rows)
        return table


def _cleaner(console: rich.console.Console) -> Callable[[str], str]:
    """Return the function that makes a text printable, before its width is measured."""
    return console.printable if isinstance(console, Console) else sanitize.escape_controls


def table_of_rows(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    names: Sequence[str],
    keep: Sequence[str] = (),
    title: str = "",
    note: str = "",
    header: bool = True,
    row_styles: Sequence[str] = (),
) -> TerminalTable:
    """Return a table without a frame, in which every cell is one line.

    Args:
        titles: of the columns.
        rows: texts of the cells.
        names: titles of the columns that may be folded, and are never left out unless `keep` is given.
        keep: titles of the columns that are never left out.
        title: a line above the table.
        note: a line below the table.
        header: whether the titles are printed.
        row_styles: a style per row; empty for none.
    """
    texts = [[sanitize.one_line(cell) for cell in row] for row in rows]
    columns = [
        TerminalColumn(
            heading,
            [row[index] for row in texts],
            "name" if heading in names else "text",
            keep=heading in (keep or names),
        )
        for index, heading in enumerate(titles)
    ]
    return TerminalTable(columns, sanitize.one_line(title), note, header=header, row_styles=row_styles)
