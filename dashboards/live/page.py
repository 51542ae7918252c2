"""The live page without data: elements that its script fills, and the policy of what it may load."""

from functools import cache
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from dashboards.html import Markup, join, tag

# The page may load only what the server serves. Plotly writes inline styles.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A report contains its scripts and a policy that names them. The sandbox also gives it an origin of its own, so that
# nothing in it can read from this server.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def page_html() -> str:
    """Return the HTML of the page."""
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        Markup('<link rel="icon" href="data:,">'),
        Markup('<link rel="stylesheet" href="/style.css">'),
        tag("title", "raysearch"),
        tag("script", defer="", src="/plotly.js"),
        tag("script", defer="", src="/live.js"),
    )
    sections = [
        _section("running", "Running cells", tag("ul", id="running-rows", class_="running")),
        _section("variants", "Results", _table()),
        _section("plots", "Figures", tag("div", id="figures")),
        _section(
            "failures",
            "Failures and retries",
            tag("ul", id="failed-rows", class_="failures"),
            tag("p", id="failures-left", class_="note"),
            tag("ul", id="retried-rows", class_="failures"),
        ),
    ]
    body = tag("body", tag("main", tag("noscript", tag("p", "This page needs JavaScript.")), _header(), *sections))
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'


@cache
def page_script() -> str:
    """Return the page's own script."""
    return _file("live.js")


@cache
def page_style() -> str:
    """Return the report's style sheet, followed by the live page's own."""
    report_style = resources.files("dashboards.html").joinpath("style.css").read_text(encoding="utf-8")
    return report_style + _file("live.css")


def plotly_script() -> str:
    """Return plotly's script."""
    return get_plotlyjs()


def _header() -> Markup:
    bar = [tag("div", data_part=part) for part in ("finished", "stopped", "failed", "running")]
    return tag(
        "header",
        tag("p", id="brand", class_="brand"),
        tag("h1", id="question"),
        tag("p", tag("span", id="status"), " ", tag("a", id="report", href="/report.html", hidden=""), class_="status"),
        tag("p", id="problem", class_="caution", role="alert", hidden=""),
        tag("div", *bar, id="bar", class_="bar", role="progressbar", aria_label="Cells that ended"),
        tag("p", id="counts", class_="counts", role="status", aria_live="polite"),
        tag("dl", id="facts", class_="facts"),
        tag("section", tag("h2", "So far"), tag("p", id="answer"), class_="answer", aria_label="So far"),
    )


def _table() -> Markup:
    table = tag(
        "table",
        tag("caption", id="table-note"),
        tag("thead", tag("tr", id="table-columns")),
        tag("tbody", id="table-rows"),
    )
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Results")


def _section(key: str, title: str, *parts: Any) -> Markup:
    return tag("section", tag("h2", title), join(*parts), id=key, hidden="")


def _file(name: str) -> str:
    return resources.files("dashboards.live").joinpath(name).read_text(encoding="utf-8")
