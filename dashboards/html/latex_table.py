"""A table for LaTeX: booktabs rules, and numbers aligned at the decimal point by siunitx.

A number with its interval is two columns: the number, and half the width of the interval after a plus-minus sign. So
each is aligned by itself, also where numbers have different decimals. Numbers of a decided difference are bold and
have an arrow behind them.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboards.html import formats
from dashboards.html.paper_text import tex

if TYPE_CHECKING:
    from dashboards.html.table import Cell, Column, Table

PACKAGES = "booktabs,siunitx,amssymb"

_HEAD = (
    rf"% In the preamble: \usepackage{{{PACKAGES}}} with siunitx of 2021 or later (version 3).",
    r"% A table over both columns is for \begin{table*} ... \end{table*}, in one column for table; \small helps.",
)
_OPTIONS = (
    r"\sisetup{retain-explicit-plus=true,text-series-to-math=true,reset-text-series=false}"
    r"\setlength{\tabcolsep}{2.5pt}%"
)
_LONGEST_LINE = 12  # letters of a header on one line
_LONGEST_TEXT = 18  # letters of a text before its column breaks lines
_ARROWS = {"better": r"\uparrow", "worse": r"\downarrow"}
_PLUS_MINUS = r"{$\pm$\,}"
_NUMBER = re.compile(r"(?P<compared><?)(?P<sign>[+-]?)(?P<whole>\d+)(?:\.(?P<decimals>\d+))?")


@dataclass(frozen=True)
class NumberFormat:
    """The space that siunitx reserves for the numbers of a column."""

    compared: bool
    signed: bool
    whole: int
    decimals: int

    @property
    def option(self) -> str:
        """The value of `table-format`.

        >>> NumberFormat(compared=True, signed=False, whole=1, decimals=3).option
        '<1.3'
        """
        size = f"{self.whole}.{self.decimals}" if self.decimals else f"{self.whole}"
        return f"{'<' if self.compared else ''}{'+' if self.signed else ''}{size}"


def latex(table: "Table[Any]") -> str:
    """Return a `tabular` for a paper. It compiles as it is, with the packages that its first lines name."""
    drawn = [_draw_column(column, [column.people_cell(row) for row in table.rows]) for column in table.columns]
    lines = [f"% {' '.join(table.note.split())}"] if table.note else []
    lines += [
        *_HEAD,
        "{" + _OPTIONS,
        r"\begin{tabular}{" + "".join(column.specification for column in drawn) + "}",
        r"\toprule",
        *_group_lines([(column.group, width.width) for column, width in zip(table.columns, drawn, strict=True)]),
        " & ".join(column.header for column in drawn) + r" \\",
        r"\midrule",
    ]
    for index, row in enumerate(table.rows):
        lines.append(" & ".join(column.cells[index] for column in drawn) + r" \\")
        if table.ends_section(row) and len(table.rows) > 1:
            lines.append(r"\midrule")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", ""])


def _group_lines(columns: Sequence[tuple[str, int]]) -> list[str]:
    """Return the headers over groups of columns, with a rule below each; nothing without groups.

    Args:
        columns: the group of each column, and the number of columns that it takes in LaTeX.
    """
    if not any(name for name, _ in columns):
        return []
    cells = []
    rules = []
    first = 1
    for name, members in itertools.groupby(columns, lambda column: column[0]):
        width = sum(size for _, size in members)
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{tex(name)}}}")
        if name:
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return [" & ".join(cells) + r" \\", " ".join(rules)]


@dataclass(frozen=True)
class _DrawnColumn:
    """A column in LaTeX; of a number with its interval, the `&` between the two is in header and cells."""

    specification: str
    header: str
    cells: list[str]
    width: int = 1  # columns in LaTeX


def _draw_column(column: "Column[Any]", cells: "Sequence[Cell]") -> _DrawnColumn:
    title = _header(str(column.title))
    numbers = _number_format([cell.text for cell in cells]) if column.is_number else None
    halves = _number_format([cell.half_width for cell in cells]) if numbers else None
    if numbers is None or halves is None or any(cell.beside for cell in cells):
        return _DrawnColumn(_alignment(column, cells), title, [_text(cell) for cell in cells])
    specification = f"S[table-format={numbers.option}]"
    if not any(cell.half_width for cell in cells):
        return _DrawnColumn(specification, f"{{{title}}}", [_number(cell) for cell in cells])
    space = rf"table-space-text-pre={_PLUS_MINUS}"
    if any(cell.verdict in _ARROWS for cell in cells):
        space += r",table-space-text-post={\,$\uparrow$}"
    specification += rf"@{{\,}}S[table-format={halves.option},{space}]"
    values = [f"{_number(cell)} & {_half_width(cell)}".rstrip() for cell in cells]
    return _DrawnColumn(specification, rf"\multicolumn{{2}}{{c}}{{{title}}}", values, 2)


def _alignment(column: "Column[Any]", cells: "Sequence[Cell]") -> str:
    if column.is_number:
        return "r"
    if column.kind == "text" and any(len(cell.text) > _LONGEST_TEXT for cell in cells):
        return r">{\raggedright\arraybackslash}p{6.5em}"
    return "l"


def _header(title: str) -> str:
    r"""Return the header of a column, on two lines if it is long.

    >>> print(_header("p (Holm)"), _header("measured and published"))
    p (Holm) \shortstack{measured and\\published}
    """
    spaces = [match.start() for match in re.finditer(" ", title)]
    if len(title) <= _LONGEST_LINE or not spaces:
        return tex(title)
    middle = min(spaces, key=lambda space: abs(space - len(title) / 2))
    return rf"\shortstack{{{tex(title[:middle])}\\{tex(title[middle + 1 :])}}}"


def _number_format(texts: Sequence[str]) -> NumberFormat | None:
    """Return the format of a column, or None if a text is not a plain number; texts may be empty or a dash."""
    plain = [_plain(text) for text in texts if text not in ("", formats.NONE)]
    matches = [_NUMBER.fullmatch(text) for text in plain]
    if not all(matches):
        return None
    numbers = [match for match in matches if match is not None]
    return NumberFormat(
        compared=any(match["compared"] for match in numbers),
        signed=any(match["sign"] for match in numbers),
        whole=max((len(match["whole"]) for match in numbers), default=1),
        decimals=max((len(match["decimals"] or "") for match in numbers), default=0),
    )


def _plain(text: str) -> str:
    """Return a number as siunitx reads it.

    >>> _plain("1,200"), _plain(formats.MINUS + "0.5")
    ('1200', '-0.5')
    """
    return text.replace(formats.MINUS, "-").replace(",", "")


def _number(cell: "Cell") -> str:
    if cell.text in ("", formats.NONE):
        return "{--}" if cell.text else ""
    return rf"\bfseries {_plain(cell.text)}" if cell.is_set_bold else _plain(cell.text)


def _half_width(cell: "Cell") -> str:
    if not cell.half_width:
        return ""
    is_decided = cell.verdict in _ARROWS
    arrow = rf"{{\,${_ARROWS[cell.verdict]}$}}" if is_decided else ""
    return rf"{_PLUS_MINUS}{_plain(cell.half_width)}{arrow}"


def _text(cell: "Cell") -> str:
    """Return a cell of a column that is not aligned by siunitx."""
    text = tex(f"{cell.text} \N{PLUS-MINUS SIGN} {cell.half_width}" if cell.half_width else cell.text)
    text = rf"\textbf{{{text}}}" if cell.is_set_bold and text else "--" if cell.text == formats.NONE else text
    arrow = rf"\,${_ARROWS[cell.verdict]}$" if cell.verdict in _ARROWS else ""
    return f"{text}{arrow}" + (f" {tex(cell.beside)}" if cell.beside else "")
