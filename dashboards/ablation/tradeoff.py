"""Cost against effect: the time of a variant's cell, its gain, and the variants that no other beats in both."""

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.ablation.tables import verdict
from dashboards.ablation.view import Variant, View
from dashboards.html import formats, verdicts
from dashboards.run_data import row_limits

FRONT = "front"  # name of the trace that joins the Pareto front


def cost(run: View, variant: Variant) -> float | None:
    """Return the mean seconds of a finished cell; GPU-seconds if the run had GPUs."""
    if not any(row.get("gpu_seconds") for row in run.rows):
        return variant.seconds
    seconds = [row["gpu_seconds"] for row in variant.finished if row.get("gpu_seconds") is not None]
    return sum(seconds) / len(seconds) if seconds else None


def gain(variant: Variant) -> float | None:
    """Return the mean paired difference from the reference; 0 for the reference itself."""
    return 0.0 if variant.is_reference and variant.values else variant.compared["delta"]


def front(points: list[tuple[float, float]], mode: str) -> list[int]:
    """Return the positions of the points (cost, gain) on the Pareto front, the cheapest first.

    >>> front([(1.0, 0.0), (2.0, 0.1), (3.0, 0.05), (1.0, -0.1)], "max")
    [0, 1]
    """
    sign = 1 if mode == "max" else -1
    best: list[int] = []
    for index in sorted(range(len(points)), key=lambda at: (points[at][0], -sign * points[at][1])):
        if not best or sign * points[index][1] > sign * points[best[-1]][1]:
            best.append(index)
    return best


def tradeoff(run: View) -> go.Figure | None:
    """Draw seconds per cell against the difference from the reference; None with fewer than two points."""
    shown = row_limits.shown(run, verdicts.ROWS_IN_FIGURE)
    placed = [
        (variant, x, y)
        for variant in shown
        if (x := cost(run, variant)) is not None and (y := gain(variant)) is not None
    ]
    if len(placed) < 2:
        return None
    figure = figures.base(400)
    figure.add_hline(y=0, line={"color": figures.GREY, "width": 1, "dash": "dot"})
    best = [placed[index] for index in front([(x, y) for _, x, y in placed], run.mode)]
    figure.add_trace(
        go.Scatter(
            name=FRONT, x=[x for _, x, _ in best], y=[y for _, _, y in best], mode="lines", hoverinfo="skip",
            line={"color": figures.BLUE, "width": 1.5},
        )
    )  # fmt: skip
    for name, (colour, symbol) in figures.STYLES.items():
        members = [point for point in placed if point[0].verdict == name]
        if members:
            figure.add_trace(_points(run, members, colour, symbol))
    gpu = "GPU-seconds" if any(row.get("gpu_seconds") for row in run.rows) else "seconds"
    figure.update_xaxes(title_text=f"mean {gpu} per cell", nticks=8)
    metric = figures.escaped(formats.metric_name(run.metric))
    figure.update_yaxes(title_text=f"difference in {metric}", tickformat="+", nticks=7)
    return figure


def _points(run: View, members: list[tuple[Variant, float, float]], colour: str, symbol: str) -> go.Scatter:
    bounds = [(variant.compared["delta_low"], y, variant.compared["delta_high"]) for variant, _, y in members]
    return go.Scatter(
        x=[x for _, x, _ in members],
        y=[y for _, _, y in members],
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 11, "line": {"width": 2, "color": colour}},
        error_y={
            "array": [0 if high is None else high - y for _, y, high in bounds],
            "arrayminus": [0 if low is None else y - low for low, y, _ in bounds],
            "type": "data",
            "symmetric": False,
            "color": colour,
            "thickness": 1.5,
            "width": 0,
        },
        hovertext=[
            figures.about(run, variant, verdict(variant), f"{formats.signed(y)} at {formats.seconds(x)} per cell")
            for variant, x, y in members
        ],
        hoverinfo="text",
        cliponaxis=False,
    )
