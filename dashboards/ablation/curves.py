"""The metric over the levels of a numeric factor: every seed, the mean with its interval, the published curve below.

A seed is a block, so its points are joined: parallel lines mean that seeds differ and variants do so alike.
"""

import itertools
import math
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.ablation.view import SIDE, Variant, View, scaled
from dashboards.html import formats

_MOST_TICKS = 24


def numeric_factors(run: View) -> list[str]:
    """Factors that a curve can be drawn for: numbers at three levels or more, the others held at the reference."""
    if run.study.design == "leave_one_out":
        return []
    return [factor for factor in run.factors if len(_members(run, factor)) >= 2]


def curve(run: View, factor: str) -> go.Figure:
    """The metric over one factor; the published numbers have a panel and a scale of their own."""
    members = _members(run, factor)
    published = _published(run, factor)
    levels = sorted({one.level(factor) for one in members} | {level for level, _ in published})
    at = dict(zip(levels, positions(levels), strict=True))
    figure = figures.base(480 if published else 340, margin={"l": 8, "r": 12, "t": 26, "b": 8})
    for seed in sorted({seed for one in members for seed in one.values}):
        figure.add_trace(_seed_trace(members, factor, at, seed))
    figure.add_trace(_mean_trace(run, members, factor, at))
    ticks = {one.level(factor): _tick(one, factor) for one in members}
    ticked = _ticked(levels)
    figure.update_xaxes(
        tickvals=[at[level] for level in ticked],
        ticktext=[ticks.get(level, formats.level(level)) for level in ticked],
        title_text=_axis_title(run, factor),
        range=_padded(list(at.values())),
        anchor="y2" if published else "y",
    )
    name = formats.metric_name(run.metric)
    figures.panel(figure, "y", (0.43 if published else 0.0, 1.0), f"{name}, measured in this run")
    if published:
        figure.add_trace(_published_trace(published, at))
        figures.panel(figure, "y2", (0.0, 0.31), f"{name} as published, another protocol")
    return figure


def positions(levels: list[float]) -> list[float]:
    """Where levels stand on the axis: at their logarithms when they span three doublings or more, at equal steps when
    some would fall on each other, else at themselves.

    >>> positions([16, 32, 64, 128]), positions([0, 10, 50])
    ([4.0, 5.0, 6.0, 7.0], [0.0, 10.0, 50.0])
    """
    if levels[0] > 0 and levels[-1] / levels[0] >= 8:
        return [math.log2(level) for level in levels]
    gaps = [after - before for before, after in itertools.pairwise(levels)]
    if gaps and min(gaps) < 0.05 * (levels[-1] - levels[0]):
        return [float(index) for index in range(len(levels))]
    return [float(level) for level in levels]


def _ticked(levels: list[Any]) -> list[Any]:
    """Levels that are written on the axis: all, or of many every so-manieth.

    >>> _ticked([1, 2, 3]), _ticked(list(range(100)))[:3]
    ([1, 2, 3], [0, 9, 18])
    """
    return levels if len(levels) <= _MOST_TICKS else levels[:: -(-len(levels) // (_MOST_TICKS // 2))]


def _members(run: View, factor: str) -> list[Variant]:
    """The reference and the variants that differ from it in this factor alone, by level; empty if not numbers."""
    others = [name for name in run.factors if name != factor]
    reference = run.reference.settings
    found = [one for one in run.variants if all(one.settings.get(name) == reference.get(name) for name in others)]
    if any(isinstance(one.level(factor), bool) or not isinstance(one.level(factor), int | float) for one in found):
        return []
    return sorted(found, key=lambda one: one.level(factor))


def _published(run: View, factor: str) -> list[tuple[Any, float]]:
    if run.published is None:
        return []
    points = run.published.along(factor, run.reference.declared, run.metric)
    numbers = [point for point in points if isinstance(point[0], int | float) and not isinstance(point[0], bool)]
    return sorted(numbers) if len(numbers) > 1 else []


def _seed_trace(members: list[Variant], factor: str, at: dict[Any, float], seed: int) -> go.Scatter:
    return go.Scatter(
        x=[at[one.level(factor)] for one in members],
        y=[one.values.get(seed) for one in members],
        mode="lines+markers",
        line={"color": figures.GREY, "width": 1},
        marker={"size": 4, "color": figures.GREY},
        opacity=0.65,
        hovertemplate=f"seed {seed}: %{{y:.4f}}<extra></extra>",
    )


def _mean_trace(run: View, members: list[Variant], factor: str, at: dict[Any, float]) -> go.Scatter:
    members = [one for one in members if one.compared["mean"] is not None]
    rows = [one.compared for one in members]
    return go.Scatter(
        x=[at[one.level(factor)] for one in members],
        y=[row["mean"] for row in rows],
        mode="lines+markers",
        line={"color": figures.BLUE, "width": 2.5},
        marker={
            "size": [13 if one.is_reference else 9 for one in members],
            "opacity": 1,
            "line": {"width": 0},
            "color": figures.BLUE,
            "symbol": "square",
        },
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [0 if row["ci_high"] is None else row["ci_high"] - row["mean"] for row in rows],
            "arrayminus": [0 if row["ci_low"] is None else row["mean"] - row["ci_low"] for row in rows],
            "color": figures.BLUE,
            "thickness": 2,
            "width": 5,
        },
        hovertext=[
            figures.about(
                run,
                one,
                f"mean {formats.metric(one.compared['mean'])} "
                f"{formats.interval(one.compared['ci_low'], one.compared['ci_high'])}",
            )
            for one in members
        ],
        hoverinfo="text",
    )


def _published_trace(published: list[tuple[Any, float]], at: dict[Any, float]) -> go.Scatter:
    return go.Scatter(
        x=[at[level] for level, _ in published],
        y=[value for _, value in published],
        yaxis="y2",
        mode="lines+markers",
        line={"color": figures.VERMILLION, "width": 2, "dash": "dash"},
        marker={"size": 9, "symbol": "diamond", "color": figures.VERMILLION},
        hovertemplate="published %{y:.4f}<extra></extra>",
    )


def _tick(one: Variant, factor: str) -> str:
    words = formats.level(one.level(factor))
    words = f"<b>{words}</b>" if one.is_reference else words
    return f"{words}<br>{one.settings[factor]} px" if scaled(factor, one.settings, one.declared) else words


def _axis_title(run: View, factor: str) -> str:
    members = _members(run, factor)
    sizes = any(scaled(factor, one.settings, one.declared) for one in members)
    unit = f", px of a {SIDE} px image;<br>second line: as run" if sizes else ""
    return figures.escaped(factor) + unit


def _padded(values: list[float]) -> list[float]:
    pad = 0.06 * (max(values) - min(values) or 1.0)
    return [min(values) - pad, max(values) + pad]
