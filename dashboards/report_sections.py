"""The sections of a report's page, by kind of study, and the door for sections from other files.

A file outside the package adds a section with a decorated function:

    from raysearch.extend import report_section

    @report_section("ablation", "Slowest cells", after="cost")
    def slowest(run):
        rows = sorted(run.rows, key=lambda row: -row["seconds"])
        return [f"{row['variant']}, seed {row['seed']}: {row['seconds']:.0f} s" for row in rows[:5]]
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import plotly.graph_objects as go

from dashboards.html import Markup, Table, document, embed, section, tag
from raysearch.core import Registry, UserError

Draw = Callable[[Any], Any]
Function = TypeVar("Function", bound=Draw)

_FIGURE_HEIGHT = 400  # pixels, of a figure without a height


@dataclass(frozen=True)
class ReportSection:
    """A section of a page. `draw` turns the view of a run into the section, or into None without anything to show."""

    draw: Draw
    after: str | None = None  # key of the section before it, of a section from another file


SECTIONS: Registry[Registry[ReportSection]] = Registry("kind of study")
_KINDS = {
    "ablation": "an ablation",
    "several_sets": "a study on several data sets",
    "search": "a search",
    "explanation": "an explanation",
}
for _kind, _words in _KINDS.items():
    SECTIONS.register(_kind, Registry(f"section of the report on {_words}"))

_BUILT_IN: dict[str, list[str]] = {}


def register_sections(kind: str, sections: Mapping[str, Draw]) -> None:
    """Register the sections of a kind of study, in the order of its page: key -> function of the view."""
    for key, draw in sections.items():
        SECTIONS[kind].register(key, ReportSection(draw))
    _BUILT_IN.setdefault(kind, []).extend(sections)


def report_section(kind: str, title: str, after: str | None = None) -> Callable[[Function], Function]:
    """Add a section to the page of a kind of study.

    The decorated function takes the view of the run (`dashboards.ablation.view.View`,
    `dashboards.search.view.SearchView` or `dashboards.explanation.view.ExplanationView`). It returns a text, a plotly
    figure, a `dashboards.html.table.Table`, a list of these, or None to leave the section out. An exception in it does
    not stop the report: the section shows it.

    Args:
        kind: "ablation", "search" or "explanation".
        title: heading of the section.
        after: key of the section before it, such as "variants", "effects" or "cost"; None appends it.

    Raises:
        UserError: no such kind of study, or a second section with this title.
    """
    sections = SECTIONS[kind]
    key = re.sub(r"\W+", "-", title.lower()).strip("-")

    def _register(function: Function) -> Function:
        sections.register(key, ReportSection(lambda run: _drawn(key, title, function, run), after))
        return function

    return _register


def draw_page(kind: str, run: Any, header: Markup) -> str:
    """Return the HTML of the page of a kind of study, with its sections in order.

    Args:
        kind: "ablation", "search" or "explanation".
        run: the view of the run.
        header: the top of the page.

    Raises:
        UserError: a section from another file comes after one that does not exist.
    """
    title = f"{run.study.study}: {run.study.question or 'report'}"
    return document(title, header, *draw_sections(kind, run))


def draw_sections(kind: str, run: Any) -> list[Markup]:
    """Return the sections of a page, in order.

    Raises:
        UserError: a section comes after one that does not exist.
    """
    registered = SECTIONS[kind]
    order = list(_BUILT_IN[kind])
    for key in registered:
        if key in order:
            continue
        after = registered[key].after
        if after is None:
            order.append(key)
        elif after in registered:
            order.insert(order.index(after) + 1 if after in order else len(order), key)
        else:
            raise UserError(f"section '{key}' comes after '{after}', which is not a section; known: {', '.join(order)}")
    drawn = (registered[key].draw(run) for key in order)
    return [part for part in drawn if part is not None]


def _drawn(key: str, title: str, function: Draw, run: Any) -> Markup | None:
    try:
        content = function(run)
        entries = content if isinstance(content, list) else [content]
        parts = [_part(f"{key}-{index}", title, entry) for index, entry in enumerate(entries) if entry is not None]
    except UserError:
        raise
    except Exception as error:  # the report is worth more than one section of it
        text = f"This section was not drawn: {type(error).__name__}: {error}"
        return section(key, title, tag("p", text, class_="caution"))
    return section(key, title, *parts) if parts else None


def _part(key: str, title: str, entry: Any) -> Markup:
    if isinstance(entry, Markup):
        return entry
    if isinstance(entry, Table):
        return entry.to_html()
    if isinstance(entry, go.Figure):
        figure = entry if entry.layout.height else go.Figure(entry).update_layout(height=_FIGURE_HEIGHT)
        return embed(figure, f"plot-{key}", None, title)
    return tag("p", str(entry))
