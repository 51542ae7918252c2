"""Parallel coordinates of a search: one line per config, through each of its settings to its value.

They are drawn as plain lines. Plotly's own parallel coordinates need WebGL, which is missing on remote desktops, on
paper, and in browsers with many figures.
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
from dashboards.search.figures import all_numbers, is_logarithmic, sample_configs
from dashboards.search.tried_configs import TriedConfig
from dashboards.search.view import SearchView

MAX_LINES = 400
_SHADES = 8
_TICKS = 5
_COLOR_SCALE = "Cividis"
_NOT_SET = "not set"
_NOT_SET_HEIGHT = -0.2  # of a setting that a config does not have


@dataclass(frozen=True)
class Axis:
    """A parameter's axis, from 0 at the bottom to 1 at the top."""

    path: str
    heights: list[float]  # of the configs
    ticks: list[tuple[float, str]]


def draw_parallel(run: SearchView) -> go.Figure | None:
    """Draw one line per config, colored by the first metric; chosen ones are thick. None if no config has a value."""
    metric = run.metrics[0]
    configs = [config for group in run.groups for config in sample_configs(run, group, MAX_LINES)]
    configs = [config for config in configs if config.values[metric] is not None]
    if not configs:
        return None
    worst_first = sorted(configs, key=lambda config: _value(config, metric), reverse=run.modes[metric] == "min")
    axes = [
        build_axis(path, [config.settings.get(path) for config in worst_first], _uses_log(run, path))
        for path in run.paths
    ]
    if len(run.groups) > 1:
        levels = [config.group.partition("=")[2] for config in worst_first]
        axes.insert(0, build_axis(str(run.study.group), levels, False))
    axes.append(build_axis(formats.metric_name(metric), [_value(config, metric) for config in worst_first], False))
    figure = figures.base(440, margin={"l": 30, "r": 8, "t": 12, "b": 8})
    for shade, members in itertools.groupby(enumerate(worst_first), lambda item: item[0] * _SHADES // len(configs)):
        color = sample_colorscale(_COLOR_SCALE, [shade / (_SHADES - 1)])[0]
        figure.add_trace(_lines(run, list(members), axes, color, 1.2))
    chosen = run.chosen_names()
    best = [(index, config) for index, config in enumerate(worst_first) if config.name in chosen]
    figure.add_trace(_lines(run, best, axes, figures.VERMILLION, 3.0))
    _draw_axes(figure, axes)
    return figure


def build_axis(path: str, levels: Sequence[Any], log: bool) -> Axis:
    """Build an axis of numbers, or of names at equal distances.

    Args:
        path: the path of the parameter.
        levels: the levels of the configs; None if a config does not have the parameter.
        log: whether numbers are placed by their logarithms.

    >>> build_axis("train.lr", [0.001, 0.1, None], True).heights
    [0.0, 1.0, -0.2]
    """
    known = [level for level in levels if level is not None]
    if all_numbers(known):
        scale = math.log10 if log else float
        low = scale(min(known))
        high = scale(max(known))
        span = high - low or 1.0
        heights = [_NOT_SET_HEIGHT if level is None else (scale(level) - low) / span for level in levels]
        steps = [step / (_TICKS - 1) for step in range(_TICKS)] if high > low else [0.0]
        values = [low + step * span for step in steps]
        ticks = [(step, f"{10**value if log else value:.3g}") for step, value in zip(steps, values, strict=True)]
    else:
        names = sorted({formats.level(level) for level in known})
        positions = {name: index / max(1, len(names) - 1) for index, name in enumerate(names)}
        heights = [_NOT_SET_HEIGHT if level is None else positions[formats.level(level)] for level in levels]
        ticks = [(height, name) for name, height in positions.items()]
    not_set = [(_NOT_SET_HEIGHT, _NOT_SET)] if len(known) < len(levels) else []
    return Axis(path, heights, not_set + ticks)


def _lines(
    run: SearchView, members: Sequence[tuple[int, TriedConfig]], axes: Sequence[Axis], color: str, width: float
) -> go.Scatter:
    """Return configs as one trace, with gaps between them."""
    x: list[float | None] = []
    y: list[float | None] = []
    hover: list[str] = []
    for index, config in members:
        x += [*range(len(axes)), None]
        y += [*(axis.heights[index] for axis in axes), None]
        value = formats.metric(config.values[run.metrics[0]])
        hover += [f"<b>{figures.text(config.name, 40)}</b><br>{config.status}, {value}"] * (len(axes) + 1)
    line = {"color": color, "width": width}
    return go.Scatter(x=x, y=y, mode="lines", line=line, hovertext=hover, hoverinfo="text", opacity=0.85)


def _draw_axes(figure: go.Figure, axes: Sequence[Axis]) -> None:
    for index, axis in enumerate(axes):
        figure.add_shape(type="line", x0=index, x1=index, y0=0, y1=1, line={"color": figures.GREY, "width": 1})
        for height, label in axis.ticks:
            figure.add_annotation(
                x=index,
                y=height,
                text=figures.text(label, 14),
                showarrow=False,
                font={"size": 11},
                xshift=-4,
                xanchor="right",
                align="right",
                bgcolor="#ffffff",
                opacity=0.85,
                borderpad=1,
            )
    names = [figures.text(axis.path.replace(".", ". "), 14).replace(". ", ".") for axis in axes]
    figure.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=names,
        side="top",
        ticks="",
        showgrid=False,
        range=[-0.45, len(axes) - 0.6],
        ticklabeloverflow="allow",
    )
    figure.update_yaxes(visible=False, range=[_NOT_SET_HEIGHT - 0.08, 1.06])


def _uses_log(run: SearchView, path: str) -> bool:
    """Return whether an axis uses logarithms; a linear one would show only the largest values of a rate."""
    levels = [config.settings[path] for config in run.configs if config.settings.get(path) is not None]
    return all_numbers(levels) and is_logarithmic(run, path, levels)


def _value(config: TriedConfig, metric: str) -> float:
    value = config.values[metric]
    assert value is not None
    return value
