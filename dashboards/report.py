"""The report of a run: one page that needs no network, and the table of variants as CSV, LaTeX and Markdown."""

import base64
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path

import pyarrow as pa
from plotly.offline import get_plotlyjs

from dashboards import definitions, opening, provenance, sections, tables
from dashboards.answer import answer
from dashboards.markup import Markup, join, tag
from dashboards.view import View, view
from raysearch.studies import atomic, results

__all__ = ["answer", "page", "write"]


def write(run_dir: str | Path, table: pa.Table | None = None) -> Path:
    """Draw a run's report and tables from what its directory holds; each file is replaced whole.

    Args:
        run_dir: a directory that `raysearch.sweep` wrote, of a run that may still be going on.
        table: what `results.load` returns of it, for those who have loaded it already.

    Returns:
        The path of `report.html`; beside it are `tables/variants.csv`, `.tex` and `.md`.

    Raises:
        UserError: not a run directory, a damaged cell file, or cells that must not be compared.
    """
    run = view(results.read_study(run_dir), results.load(run_dir) if table is None else table)
    texts = {"csv": tables.as_csv(run), "tex": tables.as_latex(run), "md": tables.as_markdown(run)}
    for suffix, text in texts.items():
        _write(Path(run_dir) / "tables" / f"variants.{suffix}", text)
    return _write(Path(run_dir) / "report.html", page(run))


def page(run: View) -> str:
    """The page: nothing is fetched, and only the two scripts that it was made with may run."""
    library, draw = _plotly(), _file("draw.js")
    policy = (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src '{_digest(library)}' '{_digest(draw)}'"
    )
    title = f"{run.study.get('study', 'study')}: {run.study.get('question', 'report')}"
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        tag("title", title),
        tag("style", Markup(_file("style.css"))),
    )
    parts = [opening.opening(run), sections.variants(run), sections.effects(run), sections.factors(run)]
    parts += [sections.learned(run), sections.cost(run), sections.failures(run)]
    parts += [provenance.provenance(run), definitions.definitions(run)]
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


def _write(path: Path, text: str) -> Path:
    return atomic.replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))
