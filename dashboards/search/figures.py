"""Figures of a search over its configs: history, Pareto front, and slices over one parameter.

`sample_configs`, `config_markers` and the checks of levels are shared by the other figures of the folder.
"""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.html import formats
from dashboards.search.tried_configs import TriedConfig
from dashboards.search.view import SearchView

MAX_POINTS = 2000  # that a browser draws at once
PALETTE = (figures.BLUE, figures.VERMILLION, figures.GREEN, "#cc79a7", "#e69f00", "#56b4e9")
# Each group has its color, and a mark, a dash and a pattern of bars of its own, which remain in a copy in gray.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
PATTERNS = ("", "/", ".", "x", "-", "+")


def sample_configs(run: SearchView, group: str, limit: int = MAX_POINTS) -> list[TriedConfig]:
    """Return a group's configs in the order of their trials; if there are too many, the best and an even sample.

    Args:
        run: the search.
        group: name of the group.
        limit: configs of all groups together.
    """
    limit = max(2, limit // len(run.groups))
    configs = run.in_group(group)
    if len(configs) <= limit:
        return configs
    best = run.ranked(group)[: limit // 2]
    sample = configs[:: math.ceil(len(configs) / (limit // 2))]
    names = {config.name for config in [*best, *sample][:limit]}
    return [config for config in configs if config.name in names]


def draw_history(run: SearchView, metric: str) -> go.Figure:
    """Draw a metric over the trials; the steps are the best value of the finished configs so far."""
    several = len(run.groups) > 1
    figure = figures.base(360, showlegend=several, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    for index, group in enumerate(run.groups):
        shown = [config for config in sample_configs(run, group) if config.values[metric] is not None]
        for status in ("finished", "stopped", "unfinished"):
            members = [config for config in shown if config.status == status]
            if members:
                x = [config.number for config in members]
                y = [config.values[metric] for config in members]
                color = group_color(index, status)
                figure.add_trace(config_markers(run, members, x, y, color, group_symbol(index, status)))
        x, y = _best_so_far(run, group, metric)
        line = {"color": PALETTE[index % len(PALETTE)], "dash": DASHES[index % len(DASHES)], "width": 2, "shape": "hv"}
        name = figures.escaped(group)
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", name=name, showlegend=several))
    figure.update_xaxes(title_text="trial", rangemode="tozero")
    figure.update_yaxes(title_text=figures.escaped(formats.metric_name(metric)))
    return figure


def draw_front(run: SearchView, group: str) -> go.Figure | None:
    """Draw the finished configs over the first two metrics, with the Pareto front; None for a single metric."""
    if len(run.metrics) < 2:
        return None
    up, across = run.metrics[:2]
    finished = [config for config in sample_configs(run, group) if config.status == "finished"]
    shown = [config for config in finished if None not in (config.values[across], config.values[up])]
    front = run.fronts[group]
    front_names = {config.name for config in front}

    def _markers(members: Sequence[TriedConfig], color: str, symbol: str, size: int = 9) -> go.Scatter:
        x = [config.values[across] for config in members]
        y = [config.values[up] for config in members]
        return config_markers(run, members, x, y, color, symbol, size)

    figure = figures.base(400)
    others = [config for config in shown if config.name not in front_names]
    figure.add_trace(_markers(others, figures.GREY, "circle-open"))
    front_trace = _markers(front, figures.GREEN, "square")
    if len(run.metrics) == 2:  # with more metrics the front is not a line in this plane
        front_trace.update(mode="lines+markers", line={"color": figures.GREEN, "width": 1.5, "shape": "vh"})
    figure.add_trace(front_trace)
    best = run.best(group)
    if best and None not in (best.values[across], best.values[up]):
        figure.add_trace(_markers([best], figures.VERMILLION, "circle-open", 18))
    figure.update_xaxes(title_text=figures.escaped(_metric_title(run, across)))
    figure.update_yaxes(title_text=figures.escaped(_metric_title(run, up)))
    return figure


def draw_slice(run: SearchView, path: str, metric: str) -> go.Figure:
    """Draw a metric over one parameter, without the configs that do not have it."""
    figure = figures.base(260)
    levels = [config.settings[path] for config in run.configs if path in config.settings]
    numeric = all_numbers(levels)
    for index, group in enumerate(run.groups):
        shown = [
            config
            for config in sample_configs(run, group)
            if path in config.settings and config.values[metric] is not None
        ]
        for status in ("finished", "stopped"):
            members = [config for config in shown if config.status == status]
            if members:
                x = [config.settings[path] for config in members]
                if not numeric:
                    x = [figures.escaped(formats.level(level)) for level in x]
                y = [config.values[metric] for config in members]
                color = group_color(index, status)
                figure.add_trace(config_markers(run, members, x, y, color, group_symbol(index, status), size=6))
    if numeric and is_logarithmic(run, path, levels):
        decades = max(levels) / min(levels) >= 10
        figure.update_xaxes(type="log", dtick=1 if decades else None, tickformat="~g" if decades else None)
    else:
        figure.update_xaxes(type="linear" if numeric else "category", nticks=5)
    figure.update_xaxes(title_text=figures.escaped(path))
    figure.update_yaxes(title_text=figures.escaped(formats.metric_name(metric)), nticks=5)
    return figure


def config_markers(
    run: SearchView, members: Sequence[TriedConfig], x: list, y: list, color: str, symbol: str, size: int = 9
) -> go.Scatter:
    """Return configs as markers whose hover text describes them."""
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"color": color, "symbol": symbol, "size": size, "line": {"width": 1.5, "color": color}},
        hovertext=[_hover(run, config) for config in members],
        hoverinfo="text",
        cliponaxis=False,
        showlegend=False,
    )


def group_color(index: int, status: str) -> str:
    """Return a group's color; stopped configs are gray in every group."""
    return figures.GREY if status == "stopped" else PALETTE[index % len(PALETTE)]


def group_symbol(index: int, status: str) -> str:
    """Return a group's mark; stopped configs are crosses in every group, and open marks are unfinished."""
    if status == "stopped":
        return "x-thin-open"
    symbol = SYMBOLS[index % len(SYMBOLS)]
    return f"{symbol}-open" if status == "unfinished" else symbol


def is_logarithmic(run: SearchView, path: str, levels: Sequence[Any]) -> bool:
    """Return whether a parameter needs a logarithmic axis, by its distribution or by the range of its levels."""
    if not levels or min(levels) <= 0:
        return False
    distribution = str(run.study.space.get(path, "")).lower()
    return "log" in distribution or (not distribution and max(levels) / min(levels) >= 1000)


def all_numbers(levels: Sequence[Any]) -> bool:
    """Return whether there are levels and all of them are numbers."""
    return bool(levels) and all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels)


def _hover(run: SearchView, config: TriedConfig) -> str:
    values = [f"{figures.escaped(metric)} {formats.metric(config.values[metric])}" for metric in run.metrics]
    group = [figures.escaped(config.group)] if config.group else []
    return "<br>".join([f"<b>{figures.text(config.name, 40)}</b>", *group, config.status, *values])


def _best_so_far(run: SearchView, group: str, metric: str) -> tuple[list[int], list[float | None]]:
    """Return the trials at which the best finished value changes, the last trial, and the values there."""
    x: list[int] = []
    y: list[float | None] = []
    best: TriedConfig | None = None
    configs = run.in_group(group)
    for config in configs:
        if config.status != "finished" or config.values[metric] is None:
            continue
        if best is None or run.is_better(config, best, metric):
            best = config
            x.append(config.number)
            y.append(config.values[metric])
    if best is not None:
        x.append(configs[-1].number)
        y.append(best.values[metric])
    return x, y


def _metric_title(run: SearchView, metric: str) -> str:
    return f"{formats.metric_name(metric)} ({'higher' if run.modes[metric] == 'max' else 'lower'} is better)"
