"""HTML elements as text: `markupsafe` escapes whatever is not marked as markup.

Elements remember the figures in them, so that a section can be asked for its figures without reading its text.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup, escape

__all__ = [
    "Element",
    "EmbeddedFigure",
    "Markup",
    "Section",
    "breakable_name",
    "data_block",
    "escape",
    "figures_in",
    "join",
    "number_cell",
    "section",
    "table_element",
    "tag",
]


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure of the page.

    Attributes:
        name: the short name by which files and Python know it, such as "effects" or "learning-0".
        figure: the figure.
        title: what it shows, in a few words.
        caption: how to read it, in plain text; may be empty.
    """

    name: str
    figure: go.Figure
    title: str
    caption: str


class Element(Markup):
    """An element of the page, with the figures in it."""

    figures: tuple[EmbeddedFigure, ...] = ()


class Section(Element):
    """A section of the page, which the table of contents lists."""

    key: str
    heading: str


def tag(name: str, *children: Any, **attributes: Any) -> Markup:
    """Return an HTML element.

    Args:
        name: name of the element.
        children: its content, escaped unless it is markup; None is left out.
        attributes: `class_` is the class, `data_x` becomes data-x, and an attribute that is None is left out.

    >>> print(tag("p", "1 < 2", class_="note"))
    <p class="note">1 &lt; 2</p>
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    element = Element(f"<{name}{words}>{join(*children)}</{name}>")
    element.figures = tuple(figures_in(children))
    return element


def join(*children: Any) -> Markup:
    """Return the children one after the other, without those that are None."""
    joined = Element("".join(escape(child) for child in children if child is not None))
    joined.figures = tuple(figures_in(children))
    return joined


def figures_in(parts: Iterable[Any]) -> list[EmbeddedFigure]:
    """Return the figures in elements of the page, in order; other parts have none."""
    return [figure for part in parts if isinstance(part, Element) for figure in part.figures]


def breakable_name(text: str) -> Markup:
    """Return a variant's name that may break after `=` and keeps `(64 at 224)` on one line.

    >>> breakable_name("a=18 px (64 at 224)") == "a=<wbr>18\\u00a0px (64\\u00a0at\\u00a0224)"
    True
    """
    unbroken = re.sub(r"(\d+) at (\d+)", "\\1\u00a0at\u00a0\\2", re.sub(r"(\d+) px", "\\1\u00a0px", text))
    return escape(unbroken).replace("=", Markup("=<wbr>"))


def data_block(key: str, value: str) -> Markup:
    """Return JSON in a script element that no string inside the JSON can end early."""
    safe = value.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(f'<script type="application/json" data-figure="{escape(key)}">{safe}</script>')


def section(key: str, title: str, *parts: Any) -> Section:
    """Return a section of the page under its heading.

    >>> cost = section("cost", "Cost & time", None)
    >>> print(cost, cost.heading)
    <section id="cost" aria-labelledby="cost-title"><h2 id="cost-title">Cost &amp; time</h2></section> Cost & time
    """
    label = f"{key}-title"
    element = tag("section", tag("h2", title, id=label), *parts, id=key, aria_labelledby=label)
    section_ = Section(element)
    section_.figures = tuple(figures_in([element]))
    section_.key = key
    section_.heading = title
    return section_


def number_cell(value: str | Markup, under: str | Markup = "", by: float | None = None) -> Markup:
    """Return a table cell that holds a number.

    Args:
        value: the formatted number.
        under: smaller text below it.
        by: the number that the column is sorted by; cells without one are sorted last.

    >>> print(number_cell("0.613", by=0.61249))
    <td class="number" data-value="0.61249">0.613</td>
    """
    sorted_by = "" if by is None or not math.isfinite(by) else repr(by)
    small = under if isinstance(under, Markup) else tag("small", under) if under else None
    return tag("td", value, small, class_="number", data_value=sorted_by)


def table_element(
    header: list[Any], body: list[list[Any]], caption: Any = None, groups: Sequence[tuple[str, int]] = ()
) -> Markup:
    """Return a table with column headers, by which a reader can sort. The first cell of each row is its header.

    A table that is too wide scrolls within the page.

    Args:
        header: the titles of the columns.
        body: the cells, row by row.
        caption: text above the table, or None.
        groups: headers over several columns, each with the number of its columns; one without a text is empty.
    """
    over = [
        tag("th", name, scope="colgroup", colspan=size) if name else tag("td", colspan=size) for name, size in groups
    ]
    titles = tag("tr", *(tag("th", title, scope="col") for title in header))
    head = tag("thead", tag("tr", *over, class_="groups") if groups else None, titles) if header else None
    lines = [
        tag("tr", tag("th", first, scope="row"), *(cell if _is_cell(cell) else tag("td", cell) for cell in rest))
        for first, *rest in body
    ]
    sortable = "sortable" if header and len(body) > 1 else None
    table = tag("table", tag("caption", caption) if caption else None, head, tag("tbody", *lines), class_=sortable)
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=_plain(caption))


def _is_cell(value: Any) -> bool:
    return isinstance(value, Markup) and value.startswith("<td")


def _plain(value: Any) -> str:
    return "table" if value is None or isinstance(value, Markup) else str(value)
