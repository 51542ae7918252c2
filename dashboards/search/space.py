"""What each parameter of a search does alone: slices and importances."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.html import formats
from dashboards.search.figures import PALETTE, colour_of, drawn, points
from dashboards.search.view import SearchView


def slice_of(run: SearchView, path: str, metric: str) -> go.Figure:
    """A metric over one parameter; configs that have no such parameter are left out."""
    figure = figures.base(260)
    every = [one.settings[path] for one in run.configs if path in one.settings]
    numbers = numeric(every)
    for index, group in enumerate(run.groups):
        shown = [one for one in drawn(run, group) if path in one.settings and one.values[metric] is not None]
        for status, symbol in (("finished", "circle"), ("stopped", "x-thin-open")):
            members = [one for one in shown if one.status == status]
            if members:
                levels = [one.settings[path] for one in members]
                x = levels if numbers else [figures.escaped(formats.level(level)) for level in levels]
                y = [one.values[metric] for one in members]
                figure.add_trace(points(run, members, x, y, colour_of(index, status), symbol, size=6))
    if numbers and logarithmic(run, path, every):
        decades = max(every) / min(every) >= 10
        figure.update_xaxes(type="log", dtick=1 if decades else None, tickformat="~g" if decades else None)
    else:
        figure.update_xaxes(type="linear" if numbers else "category", nticks=5)
    figure.update_yaxes(title_text=figures.escaped(formats.metric_name(metric)), nticks=5)
    return figure


def importances(found: Mapping[str, Mapping[str, float]], metric: str) -> go.Figure:
    """Bars of each parameter's share.

    Args:
        found: group -> parameter -> importance, as `search_importance.importances` gives them.
        metric: what the importances are for.
    """
    paths = list(dict.fromkeys(path for group in found.values() for path in group))
    totals = {path: sum(group.get(path, 0.0) for group in found.values()) for path in paths}
    paths.sort(key=lambda path: totals[path])
    height = 90 + (14 + 16 * len(found)) * len(paths)
    figure = figures.base(height, bargap=0.3, showlegend=len(found) > 1)
    for index, (group, shares) in enumerate(found.items()):
        values = [shares.get(path) for path in paths]
        figure.add_trace(
            go.Bar(
                name=figures.escaped(group),
                x=values,
                y=[figures.escaped(path) for path in paths],
                orientation="h",
                marker={"color": PALETTE[index % len(PALETTE)]},
                hovertext=[f"{figures.escaped(group)} {formats.metric(value)}".strip() for value in values],
                hoverinfo="text",
            )
        )
    figure.update_xaxes(title_text=f"importance for {figures.escaped(formats.metric_name(metric))}", rangemode="tozero")
    figure.update_yaxes(type="category", ticks="")
    return figure


def logarithmic(run: SearchView, path: str, levels: Sequence[Any]) -> bool:
    """Whether a parameter was searched by its logarithm, as the space says or as far as its values reach."""
    if not levels or min(levels) <= 0:
        return False
    said = str((run.study.get("space") or {}).get(path, "")).lower()
    return "log" in said or (not said and max(levels) / min(levels) >= 1000)


def numeric(levels: Sequence[Any]) -> bool:
    """Whether all levels are numbers, and there are any."""
    return bool(levels) and all(isinstance(one, int | float) and not isinstance(one, bool) for one in levels)
