"""Contours of a metric over two parameters of a search, between the configs that were tried.

As in Optuna's `plot_contour`, the surface is plotly's interpolation of a grid that holds a value where a config was
tried and nothing elsewhere, so between configs it is a guess and the points say where it is none. Departures: only
configs that finished, since one that was stopped early shows an earlier value; and only the parameters that decided
most by Optuna's importances, since of ten parameters there are 45 pairs.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.html import formats
from dashboards.run_data.result_rows import mean
from dashboards.search.figures import drawn, points
from dashboards.search.importance import FEWEST, importances
from dashboards.search.space import logarithmic, numeric
from dashboards.search.view import Config, SearchView

MOST_PARAMETERS = 3
_MOST_POINTS = 120  # the grid has a row and a column each, and a browser interpolates all of its fields


def pairs(run: SearchView, group: str) -> list[tuple[str, str]]:
    """Pairs of the two or three numeric parameters that decided most, the more important one across.

    Those that Optuna could not weigh, because not every config has them, come last.
    """
    shares = importances(run, run.metrics[0], group)
    ranked = sorted(run.paths, key=lambda path: -shares.get(path, 0.0))
    numbers = [path for path in ranked if len(set(_levels(run, group, path))) > 2]
    return list(itertools.combinations(numbers[:MOST_PARAMETERS], 2))


def contour(run: SearchView, group: str, across: str, up: str) -> go.Figure | None:
    """The first metric over two parameters; None with too few finished configs that have both."""
    metric = run.metrics[0]
    members = [one for one in drawn(run, group, _MOST_POINTS * len(run.groups)) if _finished(one, metric, across, up)]
    x, y = (sorted({one.settings[path] for one in members}) for path in (across, up))
    if len(members) < FEWEST or len(x) < 3 or len(y) < 3:
        return None
    figure = figures.base(340)
    figure.add_trace(
        go.Contour(
            x=x,
            y=y,
            z=grid(members, metric, across, up),
            connectgaps=True,
            colorscale="Cividis" if run.modes[metric] == "max" else "Cividis_r",
            line={"width": 0.5, "color": "rgba(255,255,255,0.6)"},
            ncontours=12,
            colorbar={
                "thickness": 12,
                "title": {"text": figures.escaped(formats.metric_name(metric)), "side": "right"},
            },
            hoverinfo="skip",
        )
    )
    figure.add_trace(_places(run, members, across, up, "circle-open", 6))
    best = run.best(group)
    if best is not None and best in members:
        figure.add_trace(_places(run, [best], across, up, "circle-open", 16))
    figure.update_xaxes(_axis(run, across, x))
    return figure.update_yaxes(_axis(run, up, y))


def grid(members: Sequence[Config], metric: str, across: str, up: str) -> list[list[float | None]]:
    """Rows by `up`, columns by `across`, both upwards; the mean where several configs share a place, None elsewhere."""
    columns, rows = (sorted({one.settings[path] for one in members}) for path in (across, up))
    found: dict[tuple[Any, Any], list[float | None]] = {}
    for one in members:
        found.setdefault((one.settings[up], one.settings[across]), []).append(one.values[metric])
    return [[mean(found.get((row, column), ())) for column in columns] for row in rows]


def _places(run: SearchView, members: list[Config], across: str, up: str, symbol: str, size: int) -> go.Scatter:
    """Configs as rings with a dark and a light edge, to be seen on any colour."""
    x, y = ([one.settings[path] for one in members] for path in (across, up))
    trace = points(run, members, x, y, "#000000" if size < 10 else figures.VERMILLION, symbol, size)
    return trace.update(marker={"line": {"width": 1.2 if size < 10 else 3}})


def _axis(run: SearchView, path: str, levels: Sequence[Any]) -> dict[str, Any]:
    title = {"text": figures.escaped(path), "font": {"size": 13}, "standoff": 8}
    if not logarithmic(run, path, levels):
        return {"title": title, "type": "linear", "range": [levels[0], levels[-1]], "nticks": 6}
    decades = {"dtick": 1, "tickformat": "~g"} if levels[-1] / levels[0] >= 10 else {"nticks": 4}
    return {"title": title, "type": "log", "range": [math.log10(levels[0]), math.log10(levels[-1])], **decades}


def _levels(run: SearchView, group: str, path: str) -> list[Any]:
    """The levels of a parameter that is a number wherever it is set; none of another."""
    levels = [one.settings[path] for one in run.of(group) if path in one.settings]
    return levels if numeric(levels) else []


def _finished(one: Config, metric: str, *paths: str) -> bool:
    return one.status == "finished" and one.values[metric] is not None and all(path in one.settings for path in paths)
