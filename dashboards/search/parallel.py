"""Parallel coordinates of a search: a line a config, through each of its settings to its value.

Drawn as plain lines, since plotly's own parallel coordinates need WebGL, which remote desktops, paper and browsers with
many figures do not have.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from dashboards.ablation import figures
from dashboards.html import formats
from dashboards.search.figures import drawn
from dashboards.search.space import logarithmic, numeric
from dashboards.search.view import Config, SearchView

MOST_LINES, _SHADES, _TICKS = 400, 8, 5
_SCALE, _ABSENT, _BELOW = "Cividis", "not set", -0.2  # where a setting stands that a config does not have


@dataclass(frozen=True)
class Axis:
    """A parameter's axis, from 0 below to 1 above."""

    path: str
    heights: list[float]  # of the configs
    ticks: list[tuple[float, str]]


def parallel(run: SearchView) -> go.Figure | None:
    """A line a finished or stopped config, coloured by the first metric, the chosen thick; None without any."""
    metric = run.metrics[0]
    every = [one for group in run.groups for one in drawn(run, group, MOST_LINES) if one.values[metric] is not None]
    if not every:
        return None
    worst_first = sorted(every, key=lambda one: _value(one, metric), reverse=run.modes[metric] == "min")
    axes = [axis(path, [one.settings.get(path) for one in worst_first], _log(run, path)) for path in run.paths]
    if len(run.groups) > 1:
        axes.insert(0, axis(str(run.study["group"]), [one.group.partition("=")[2] for one in worst_first], False))
    axes.append(axis(formats.metric_name(metric), [_value(one, metric) for one in worst_first], False))
    figure = figures.base(440, margin={"l": 30, "r": 8, "t": 12, "b": 8})
    for shade, members in itertools.groupby(enumerate(worst_first), lambda item: item[0] * _SHADES // len(every)):
        figure.add_trace(_lines(run, list(members), axes, _colour(shade / (_SHADES - 1)), 1.2))
    chosen = {one.name for group in run.groups if (one := run.best(group))}
    best = [(index, one) for index, one in enumerate(worst_first) if one.name in chosen]
    figure.add_trace(_lines(run, best, axes, figures.VERMILLION, 3.0))
    _draw_axes(figure, axes)
    return figure


def axis(path: str, levels: Sequence[Any], log: bool) -> Axis:
    """An axis of numbers, by their logarithms if asked, or of names at equal steps.

    >>> axis("train.lr", [0.001, 0.1, None], True).heights
    [0.0, 1.0, -0.2]
    """
    known = [level for level in levels if level is not None]
    if numeric(known):
        write = math.log10 if log else float
        low, high = write(min(known)), write(max(known))
        span = high - low or 1.0
        heights = [_BELOW if level is None else (write(level) - low) / span for level in levels]
        steps = [step / (_TICKS - 1) for step in range(_TICKS)] if high > low else [0.0]
        values = [low + step * span for step in steps]
        ticks = [(at, f"{10**value if log else value:.3g}") for at, value in zip(steps, values, strict=True)]
    else:
        names = sorted({formats.level(level) for level in known})
        at = {name: index / max(1, len(names) - 1) for index, name in enumerate(names)}
        heights = [_BELOW if level is None else at[formats.level(level)] for level in levels]
        ticks = [(height, name) for name, height in at.items()]
    absent = [(_BELOW, _ABSENT)] if len(known) < len(levels) else []
    return Axis(path, heights, absent + ticks)


def _lines(
    run: SearchView, members: Sequence[tuple[int, Config]], axes: Sequence[Axis], colour: str, width: float
) -> go.Scatter:
    """Configs as one trace, with gaps between them."""
    x: list[float | None] = []
    y: list[float | None] = []
    words: list[str] = []
    for index, one in members:
        x += [*range(len(axes)), None]
        y += [*(axis.heights[index] for axis in axes), None]
        value = formats.metric(one.values[run.metrics[0]])
        words += [f"<b>{figures.text(one.name, 40)}</b><br>{one.status}, {value}"] * (len(axes) + 1)
    line = {"color": colour, "width": width}
    return go.Scatter(x=x, y=y, mode="lines", line=line, hovertext=words, hoverinfo="text", opacity=0.85)


def _draw_axes(figure: go.Figure, axes: Sequence[Axis]) -> None:
    for index, axis in enumerate(axes):
        figure.add_shape(type="line", x0=index, x1=index, y0=0, y1=1, line={"color": figures.GREY, "width": 1})
        for height, words in axis.ticks:
            figure.add_annotation(
                x=index, y=height, text=figures.text(words, 14), showarrow=False, font={"size": 11}, xshift=-4,
                xanchor="right", align="right", bgcolor="#ffffff", opacity=0.85, borderpad=1,
            )  # fmt: skip
    names = [figures.text(axis.path.replace(".", ". "), 14).replace(". ", ".") for axis in axes]
    figure.update_xaxes(
        tickvals=list(range(len(axes))), ticktext=names, side="top", ticks="", showgrid=False,
        range=[-0.45, len(axes) - 0.6], ticklabeloverflow="allow",
    )  # fmt: skip
    figure.update_yaxes(visible=False, range=[_BELOW - 0.08, 1.06])


def _log(run: SearchView, path: str) -> bool:
    """Whether an axis goes by logarithms; a plain one would show the largest values of a rate alone."""
    levels = [one.settings[path] for one in run.configs if one.settings.get(path) is not None]
    return numeric(levels) and logarithmic(run, path, levels)


def _colour(share: float) -> str:
    return sample_colorscale(_SCALE, [share])[0]


def _value(one: Config, metric: str) -> float:
    value = one.values[metric]
    assert value is not None
    return value
