"""A page around its parts: nothing is fetched, and no script may run but those that it was made with."""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from dashboards.markup import Markup, tag


def document(title: str, *parts: Any) -> str:
    """The HTML of a page.

    Args:
        title: of the browser's tab.
        parts: header and sections, None left out.
    """
    without = tag("noscript", tag("p", "The figures need JavaScript; every number stands in the tables."))
    return _document(title, _file("style.css"), [_plotly(), _file("draw.js")], without, *parts)


def plain(title: str, style: str, *parts: Any) -> str:
    """The HTML of a page without plotly's figures, on which no script may run; `style` is CSS of its own."""
    return _document(title, _file("style.css") + style, [], *parts)


def _document(title: str, style: str, scripts: list[str], *parts: Any) -> str:
    allowed = " ".join(f"'{_digest(script)}'" for script in scripts) or "'none'"
    policy = f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {allowed}"
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        tag("title", title),
        tag("style", Markup(style)),
    )
    body = tag("body", tag("main", *parts), *(tag("script", Markup(script)) for script in scripts))
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'


@cache
def _plotly() -> str:
    return get_plotlyjs()


@cache
def _file(name: str) -> str:
    return resources.files("dashboards").joinpath(name).read_text(encoding="utf-8")


@cache
def _digest(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
