"""How a search went: each metric over the trials, and the Pareto front of two metrics."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.html import formats
from dashboards.search.view import Config, SearchView

MOST_POINTS = 2000  # that a browser draws at once
PALETTE = (figures.BLUE, figures.VERMILLION, figures.GREEN, "#cc79a7", "#e69f00", "#56b4e9")  # a colour a group


def drawn(run: SearchView, group: str, most: int = MOST_POINTS) -> list[Config]:
    """A group's configs in the order of their trials; of very many the best and every so-manieth of the rest."""
    most = max(2, most // len(run.groups))
    configs = run.of(group)
    if len(configs) <= most:
        return configs
    ranked = run.ranked(group)
    kept = {one.name for one in [*ranked[: most // 2], *configs[:: math.ceil(len(configs) / (most // 2))]][:most]}
    return [one for one in configs if one.name in kept]


def history(run: SearchView, metric: str) -> go.Figure:
    """A metric over the trials; the steps are the best so far among the finished."""
    figure = figures.base(
        360, showlegend=len(run.groups) > 1, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    )
    for index, group in enumerate(run.groups):
        shown = [one for one in drawn(run, group) if one.values[metric] is not None]
        for status, symbol in (("finished", "circle"), ("stopped", "x-thin-open"), ("unfinished", "circle-open")):
            members = [one for one in shown if one.status == status]
            if members:
                x, y = [one.number for one in members], [one.values[metric] for one in members]
                figure.add_trace(points(run, members, x, y, colour_of(index, status), symbol))
        x, y = _best_so_far(run, group, metric)
        line = {"color": PALETTE[index % len(PALETTE)], "width": 2, "shape": "hv"}
        named = {"name": figures.escaped(group), "showlegend": len(run.groups) > 1}
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", **named))
    figure.update_xaxes(title_text="trial", rangemode="tozero")
    figure.update_yaxes(title_text=figures.escaped(formats.metric_name(metric)))
    return figure


def front(run: SearchView, group: str) -> go.Figure | None:
    """Finished configs in the plane of the first two metrics, the Pareto front joined; None for a single metric."""
    if len(run.metrics) < 2:
        return None
    across, up = run.metrics[1], run.metrics[0]
    finished = [one for one in drawn(run, group) if one.status == "finished"]
    shown = [one for one in finished if None not in (one.values[across], one.values[up])]
    figure = figures.base(400)
    on = run.fronts[group]
    names = {one.name for one in on}
    rest = [one for one in shown if one.name not in names]
    x, y = [one.values[across] for one in rest], [one.values[up] for one in rest]
    figure.add_trace(points(run, rest, x, y, figures.GREY, "circle-open"))
    x, y = [one.values[across] for one in on], [one.values[up] for one in on]
    trace = points(run, on, x, y, figures.GREEN, "square")
    if len(run.metrics) == 2:  # of more than two the front is no line in this plane
        trace.update(mode="lines+markers", line={"color": figures.GREEN, "width": 1.5, "shape": "vh"})
    figure.add_trace(trace)
    best = run.best(group)
    if best and None not in (best.values[across], best.values[up]):
        ring = points(run, [best], [best.values[across]], [best.values[up]], figures.VERMILLION, "circle-open")
        figure.add_trace(ring.update(marker={"size": 18}))
    figure.update_xaxes(title_text=figures.escaped(_axis(run, across)))
    figure.update_yaxes(title_text=figures.escaped(_axis(run, up)))
    return figure


def points(
    run: SearchView, members: Sequence[Config], x: list, y: list, colour: str, symbol: str, size: int = 9
) -> go.Scatter:
    """Configs as markers that tell about themselves."""
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": size, "line": {"width": 1.5, "color": colour}},
        hovertext=[_hover(run, one) for one in members],
        hoverinfo="text",
        cliponaxis=False,
        showlegend=False,
    )


def _hover(run: SearchView, one: Config) -> str:
    numbers = [f"{figures.escaped(metric)} {formats.metric(one.values[metric])}" for metric in run.metrics]
    group = [figures.escaped(one.group)] if one.group else []
    return "<br>".join([f"<b>{figures.text(one.name, 40)}</b>", *group, one.status, *numbers])


def _best_so_far(run: SearchView, group: str, metric: str) -> tuple[list[int], list[float | None]]:
    """Where the best value of a finished config changes, and the last trial."""
    x: list[int] = []
    y: list[float | None] = []
    best: Config | None = None
    for one in run.of(group):
        counts = one.status == "finished" and one.values[metric] is not None
        if counts and (best is None or run.better(one, best, metric)):
            best = one
            x.append(one.number)
            y.append(one.values[metric])
    if best is not None:
        x.append(run.of(group)[-1].number)
        y.append(best.values[metric])
    return x, y


def colour_of(index: int, status: str) -> str:
    """A group's colour; what was stopped is grey in all."""
    return figures.GREY if status == "stopped" else PALETTE[index % len(PALETTE)]


def _axis(run: SearchView, metric: str) -> str:
    return f"{formats.metric_name(metric)} ({'higher' if run.modes[metric] == 'max' else 'lower'} is better)"
