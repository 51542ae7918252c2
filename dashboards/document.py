"""A page around its parts: nothing is fetched, and only the scripts that it was made with may run.

Screen readers and keyboards find landmarks (header, contents, main) and a link that skips to the results.
"""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from dashboards.markup import Markup, Section, tag

_SCRIPTS = ("draw.js", "sort.js")


def document(title: str, *parts: Any) -> str:
    """The HTML of a page.

    Args:
        title: of the browser's tab.
        parts: the header, and sections, which the table of contents names; None is left out.
    """
    scripts = (_plotly(), *map(_file, _SCRIPTS))
    digests = " ".join(f"'{_digest(script)}'" for script in scripts)
    policy = f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {digests}"
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        tag("title", title),
        tag("style", Markup(_file("style.css"))),
    )
    shown = [part for part in parts if part is not None]
    headers = [part for part in shown if str(part).startswith("<header")]
    without = tag("noscript", tag("p", "The figures need JavaScript; every number stands in the tables."))
    body = tag(
        "body",
        tag("a", "Skip to the results", href="#results", class_="skip"),
        *headers,
        _contents([part for part in shown if isinstance(part, Section)]),
        tag("main", without, *(part for part in shown if part not in headers), id="results", tabindex="-1"),
        *(tag("script", Markup(script)) for script in scripts),
    )
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'


def _contents(sections: list[Section]) -> Markup | None:
    """Links to the page's sections."""
    links = [tag("li", tag("a", one.heading, href=f"#{one.key}")) for one in sections]
    return tag("nav", tag("ul", *links), aria_label="Contents", class_="contents") if links else None


@cache
def _plotly() -> str:
    return get_plotlyjs()


@cache
def _file(name: str) -> str:
    return resources.files("dashboards").joinpath(name).read_text(encoding="utf-8")


@cache
def _digest(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
