"""Cost against effect: what a cell of each variant takes, what it gains, and which variants nothing beats in both."""

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.ablation.tables import verdict
from dashboards.ablation.view import Variant, View
from dashboards.html import formats, verdicts
from dashboards.run_data import row_limits

FRONT = "front"  # name of the trace that joins the Pareto-best


def cost(run: View, one: Variant) -> float | None:
    """Mean seconds of a finished cell; of GPUs, when the run had any."""
    if not any(row.get("gpu_seconds") for row in run.rows):
        return one.seconds
    taken = [row["gpu_seconds"] for row in one.finished if row.get("gpu_seconds") is not None]
    return sum(taken) / len(taken) if taken else None


def gain(one: Variant) -> float | None:
    """Mean paired difference from the reference; none of a reference."""
    return 0.0 if one.is_reference and one.values else one.compared["delta"]


def front(points: list[tuple[float, float]], mode: str) -> list[int]:
    """Positions of the (cost, gain) that no other beats in one and equals in the other, the cheapest first.

    >>> front([(1.0, 0.0), (2.0, 0.1), (3.0, 0.05), (1.0, -0.1)], "max")
    [0, 1]
    """
    sign = 1 if mode == "max" else -1
    found: list[int] = []
    for index in sorted(range(len(points)), key=lambda at: (points[at][0], -sign * points[at][1])):
        if not found or sign * points[index][1] > sign * points[found[-1]][1]:
            found.append(index)
    return found


def tradeoff(run: View) -> go.Figure | None:
    """Seconds a cell against the difference from the reference; None with fewer than two variants to place."""
    shown = row_limits.shown(run, verdicts.ROWS_IN_FIGURE)
    placed = [(one, x, y) for one in shown if (x := cost(run, one)) is not None and (y := gain(one)) is not None]
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
    figure.update_xaxes(title_text=f"mean {gpu} a cell", nticks=8)
    metric = figures.escaped(formats.metric_name(run.metric))
    figure.update_yaxes(title_text=f"difference in {metric}", tickformat="+", nticks=7)
    return figure


def _points(run: View, members: list[tuple[Variant, float, float]], colour: str, symbol: str) -> go.Scatter:
    bounds = [(one.compared["delta_low"], y, one.compared["delta_high"]) for one, _, y in members]
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
            figures.about(run, one, verdict(one), f"{formats.signed(y)} at {formats.seconds(x)} a cell")
            for one, x, y in members
        ],
        hoverinfo="text",
        cliponaxis=False,
    )
