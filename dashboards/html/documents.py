"""The page around its sections, and figures in it. It fetches nothing, and its policy allows only its own scripts.

Screen readers and keyboards find landmarks (header, contents, main) and a link that skips to the results. A figure is
the place in which a script draws it, its JSON, a caption, and a description for screen readers.

Plotly's script would be 4.8 of a page's 5 MB. It is stored compressed, and the browser unpacks it.
"""

import base64
import hashlib
import zlib
from functools import cache
from importlib import resources
from typing import Any

import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs

from dashboards.html.markup import Element, EmbeddedFigure, Markup, Section, data_block, tag

_SCRIPTS = ("unpack.js", "draw.js", "sort.js")


def document(title: str, *parts: Any) -> str:
    """Return the HTML of a page.

    Args:
        title: title of the browser's tab.
        parts: the header and the sections; None is left out.
    """
    without = tag("noscript", tag("p", "The figures need JavaScript; every number is in the tables."))
    headers = [part for part in parts if _is_header(part)]
    rest = [part for part in parts if not _is_header(part)]
    packed = [_packed_plotly()] if any("data-figure=" in str(part) for part in parts) else []
    scripts = [tag("script", Markup(_file(name))) for name in _SCRIPTS]
    allowed = [*map(_file, _SCRIPTS), get_plotlyjs()]
    return _page(title, _file("style.css"), allowed, [*packed, *scripts], *headers, without, *rest)


def plain_document(title: str, style: str, *parts: Any) -> str:
    """Return the HTML of a page without figures, on which no script may run; `style` is additional CSS."""
    return _page(title, _file("style.css") + style, [], [], *parts)


def embed(
    figure: go.Figure, key: str, caption: str | None, description: str, title: str = "", note: str = ""
) -> Markup:
    """Return a figure with its caption.

    Args:
        figure: the figure; its layout has a height in pixels.
        key: id of the element on the page, such as "plot-effects".
        caption: text below it, or None.
        description: description that screen readers read.
        title: what the figure shows, for a caption in a paper; default: the description.
        note: how to read the figure, where the page says it once above several figures.
    """
    height = f"height:{int(figure.layout.height)}px"
    content = tag(
        "figure",
        tag("div", id=key, role="img", aria_label=description, class_="plot", style=height),
        data_block(key, plotly.io.to_json(figure, validate=False)),
        tag("figcaption", caption) if caption else None,
    )
    to_read = " ".join(text for text in (note, caption) if text)
    element = Element(content)
    element.figures = (EmbeddedFigure(key.removeprefix("plot-"), figure, title or description, to_read),)
    return element


def _page(title: str, style: str, allowed: list[str], scripts: list[Markup], *parts: Any) -> str:
    """Return a page.

    Args:
        title: title of the browser's tab.
        style: its CSS.
        allowed: texts of the scripts that may run.
        scripts: elements at the end of the page.
        parts: see `document`.
    """
    digests = " ".join(f"'{_digest(script)}'" for script in allowed) or "'none'"
    policy = f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {digests}"
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        tag("title", title),
        tag("style", Markup(style)),
    )
    shown = [part for part in parts if part is not None]
    body = tag(
        "body",
        tag("a", "Skip to the results", href="#results", class_="skip"),
        *(part for part in shown if _is_header(part)),
        _contents([part for part in shown if isinstance(part, Section)]),
        tag("main", *(part for part in shown if not _is_header(part)), id="results", tabindex="-1"),
        *scripts,
    )
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'


def _is_header(part: Any) -> bool:
    return str(part).startswith("<header")


def _contents(sections: list[Section]) -> Markup | None:
    """Return links to the page's sections."""
    links = [tag("li", tag("a", section.heading, href=f"#{section.key}")) for section in sections]
    return tag("nav", tag("ul", *links), aria_label="Contents", class_="contents") if links else None


@cache
def _packed_plotly() -> Markup:
    """Return plotly's script, compressed, in an element that does not run."""
    digits = base64.b85encode(zlib.compress(get_plotlyjs().encode(), 9))
    digits = digits.replace(b"<", b",")  # "<" could end the element
    return Markup(f'<script type="text/plain" id="plotly">{digits.decode()}</script>')


@cache
def _file(name: str) -> str:
    return resources.files("dashboards.html").joinpath(name).read_text(encoding="utf-8")


@cache
def _digest(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
