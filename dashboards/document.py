"""A page around its parts: nothing is fetched, and only the two scripts that it was made with may run."""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from dashboards.markup import Markup, join, tag


def document(title: str, *parts: Any) -> str:
    """The HTML of a page.

    Args:
        title: of the browser's tab.
        parts: header and sections, None left out.
    """
    library, draw = _plotly(), _file("draw.js")
    policy = (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src '{_digest(library)}' '{_digest(draw)}'"
    )
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        tag("title", title),
        tag("style", Markup(_file("style.css"))),
    )
    scripts = join(tag("script", Markup(library)), tag("script", Markup(draw)))
    without = tag("noscript", tag("p", "The figures need JavaScript; every number stands in the tables."))
    body = tag("body", tag("main", without, *parts), scripts)
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
