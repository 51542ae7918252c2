"""The metric over the levels of a numeric factor: every seed, the mean with its interval, and the published curve.

Seeds are blocks, so the points of a seed are joined. Parallel lines mean that seeds differ, but factors act alike.
"""

import itertools
import math
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.ablation.variant import SIDE, Variant, scaled
from dashboards.ablation.view import View
from dashboards.html import formats

_MAX_TICKS = 24


def numeric_factors(run: View) -> list[str]:
    """Return the factors with a curve: numeric ones with three or more levels, the others held at the reference."""
    if run.study.design == "leave_one_out":
        return []
    return [factor for factor in run.factors if len(_members(run, factor)) >= 2]


def curve(run: View, factor: str) -> go.Figure:
    """Draw the metric over one factor. Published numbers have their own panel and scale."""
    members = _members(run, factor)
    published = _published(run, factor)
    levels = sorted({variant.level(factor) for variant in members} | {level for level, _ in published})
    position = dict(zip(levels, positions(levels), strict=True))
    figure = figures.base(480 if published else 340, margin={"l": 8, "r": 12, "t": 26, "b": 8})
    for seed in sorted({seed for variant in members for seed in variant.values}):
        figure.add_trace(_seed_trace(members, factor, position, seed))
    figure.add_trace(_mean_trace(run, members, factor, position))
    ticks = {variant.level(factor): _tick(variant, factor) for variant in members}
    ticked = _ticked(levels)
    figure.update_xaxes(
        tickvals=[position[level] for level in ticked],
        ticktext=[ticks.get(level, formats.level(level)) for level in ticked],
        title_text=_axis_title(run, factor),
        range=_padded(list(position.values())),
        anchor="y2" if published else "y",
    )
    name = formats.metric_name(run.metric)
    figures.panel(figure, "y", (0.43 if published else 0.0, 1.0), f"{name}, measured in this run")
    if published:
        figure.add_trace(_published_trace(published, position))
        figures.panel(figure, "y2", (0.0, 0.31), f"{name} as published, another protocol")
    return figure


def positions(levels: list[float]) -> list[float]:
    """Return the positions of levels on the axis.

    They are logarithms if the levels span three doublings, equal steps if some would overlap, else the levels.

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
    """Return the levels with a label on the axis: all, or a regular selection of many.

    >>> _ticked([1, 2, 3]), _ticked(list(range(100)))[:3]
    ([1, 2, 3], [0, 9, 18])
    """
    return levels if len(levels) <= _MAX_TICKS else levels[:: -(-len(levels) // (_MAX_TICKS // 2))]


def _members(run: View, factor: str) -> list[Variant]:
    """Return the reference and the variants that differ in this factor alone, by level; numbers only."""
    others = [name for name in run.factors if name != factor]
    reference = run.reference.settings
    members = [
        variant for variant in run.variants if all(variant.settings.get(name) == reference.get(name) for name in others)
    ]
    if any(
        isinstance(variant.level(factor), bool) or not isinstance(variant.level(factor), int | float)
        for variant in members
    ):
        return []
    return sorted(members, key=lambda variant: variant.level(factor))


def _published(run: View, factor: str) -> list[tuple[Any, float]]:
    if run.published is None:
        return []
    points = run.published.along(factor, run.reference.published_levels, run.metric)
    numbers = [point for point in points if isinstance(point[0], int | float) and not isinstance(point[0], bool)]
    return sorted(numbers) if len(numbers) > 1 else []


def _seed_trace(members: list[Variant], factor: str, position: dict[Any, float], seed: int) -> go.Scatter:
    return go.Scatter(
        x=[position[variant.level(factor)] for variant in members],
        y=[variant.values.get(seed) for variant in members],
        mode="lines+markers",
        line={"color": figures.GREY, "width": 1},
        marker={"size": 4, "color": figures.GREY},
        opacity=0.65,
        hovertemplate=f"seed {seed}: %{{y:.4f}}<extra></extra>",
    )


def _mean_trace(run: View, members: list[Variant], factor: str, position: dict[Any, float]) -> go.Scatter:
    members = [variant for variant in members if variant.compared["mean"] is not None]
    rows = [variant.compared for variant in members]
    bounds = [variant.mean_interval for variant in members]
    return go.Scatter(
        x=[position[variant.level(factor)] for variant in members],
        y=[row["mean"] for row in rows],
        mode="lines+markers",
        line={"color": figures.BLUE, "width": 2.5},
        marker={
            "size": [13 if variant.is_reference else 9 for variant in members],
            "opacity": 1,
            "line": {"width": 0},
            "color": figures.BLUE,
            "symbol": "square",
        },
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [0 if high is None else high - row["mean"] for row, (_, high) in zip(rows, bounds, strict=True)],
            "arrayminus": [0 if low is None else row["mean"] - low for row, (low, _) in zip(rows, bounds, strict=True)],
            "color": figures.BLUE,
            "thickness": 2,
            "width": 5,
        },
        hovertext=[
            figures.about(
                run,
                variant,
                f"mean {formats.metric(variant.compared['mean'])} {formats.interval(*variant.mean_interval)}",
            )
            for variant in members
        ],
        hoverinfo="text",
    )


def _published_trace(published: list[tuple[Any, float]], position: dict[Any, float]) -> go.Scatter:
    return go.Scatter(
        x=[position[level] for level, _ in published],
        y=[value for _, value in published],
        yaxis="y2",
        mode="lines+markers",
        line={"color": figures.VERMILLION, "width": 2, "dash": "dash"},
        marker={"size": 9, "symbol": "diamond", "color": figures.VERMILLION},
        hovertemplate="published %{y:.4f}<extra></extra>",
    )


def _tick(variant: Variant, factor: str) -> str:
    label = formats.level(variant.level(factor))
    label = f"<b>{label}</b>" if variant.is_reference else label
    return f"{label}<br>{variant.settings[factor]} px" if scaled(factor, variant.settings, variant.declared) else label


def _axis_title(run: View, factor: str) -> str:
    members = _members(run, factor)
    sizes = any(scaled(factor, variant.settings, variant.declared) for variant in members)
    unit = f", px in a {SIDE} px image;<br>second line: as run" if sizes else ""
    return figures.escaped(factor) + unit


def _padded(values: list[float]) -> list[float]:
    pad = 0.06 * (max(values) - min(values) or 1.0)
    return [min(values) - pad, max(values) + pad]
