"""HTML that cannot leak: whatever is not marked as markup is escaped."""

import html
import math
import re
from typing import Any


class Markup(str):
    """Text that is markup already."""


class Section(Markup):
    """A part of the page that the table of contents names."""

    key: str
    heading: str


def escape(value: Any) -> Markup:
    """
    >>> escape("<b>"), escape(Markup("<b>"))
    ('&lt;b&gt;', '<b>')
    """
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def tag(name: str, *children: Any, **attributes: Any) -> Markup:
    """An element; `class_` is the class, None drops an attribute or a child, `data_x` becomes data-x.

    >>> tag("p", "1 < 2", class_="note")
    '<p class="note">1 &lt; 2</p>'
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{words}>{join(*children)}</{name}>")


def join(*children: Any) -> Markup:
    """Children one after the other, None left out."""
    return Markup("".join(escape(child) for child in children if child is not None))


def name(text: str) -> Markup:
    """A variant's name that may break after `=` and keeps `(64 at 224)` on one line.

    >>> name("a=18 px (64 at 224)") == "a=<wbr>18\\u00a0px (64\\u00a0at\\u00a0224)"
    True
    """
    kept = re.sub(r"(\d+) at (\d+)", "\\1\u00a0at\u00a0\\2", re.sub(r"(\d+) px", "\\1\u00a0px", text))
    return Markup(escape(kept).replace("=", "=<wbr>"))


def data_block(key: str, value: str) -> Markup:
    """JSON for a script to read, which no string inside it can end early."""
    safe = value.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(f'<script type="application/json" data-figure="{escape(key)}">{safe}</script>')


def section(key: str, title: str, *parts: Any) -> Section:
    """A part of the page under its heading.

    >>> one = section("cost", "Cost & time", None)
    >>> print(one, one.heading)
    <section id="cost" aria-labelledby="cost-title"><h2 id="cost-title">Cost &amp; time</h2></section> Cost & time
    """
    label = f"{key}-title"
    made = Section(tag("section", tag("h2", title, id=label), *parts, id=key, aria_labelledby=label))
    made.key, made.heading = key, title
    return made


def number(value: str, under: str | Markup = "", by: float | None = None) -> Markup:
    """A table's cell that holds a number, with what stands small below it.

    Args:
        value: as people read it.
        under: what stands below.
        by: the number that the column is sorted by; a cell without one stands last.

    >>> number("0.613", by=0.61249)
    '<td class="number" data-value="0.61249">0.613</td>'
    """
    sorted_by = "" if by is None or not math.isfinite(by) else repr(by)
    small = under if isinstance(under, Markup) else tag("small", under) if under else None
    return tag("td", value, small, class_="number", data_value=sorted_by)


def rows(header: list[Any], body: list[list[Any]], caption: Any = None) -> Markup:
    """A table with column headers, which a reader may sort by; the first cell of each row is the row's header.

    It scrolls alone when too wide.
    """
    head = tag("thead", tag("tr", *(tag("th", one, scope="col") for one in header))) if header else None
    lines = [
        tag("tr", tag("th", first, scope="row"), *(one if _is_cell(one) else tag("td", one) for one in rest))
        for first, *rest in body
    ]
    sortable = "sortable" if header and len(body) > 1 else None
    table = tag("table", tag("caption", caption) if caption else None, head, tag("tbody", *lines), class_=sortable)
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=_plain(caption))


def _is_cell(value: Any) -> bool:
    return isinstance(value, Markup) and value.startswith("<td")


def _plain(value: Any) -> str:
    return "table" if value is None or isinstance(value, Markup) else str(value)
