"""The waterfall of an explanation: from the reference to the best config, a bar per change, with intervals."""

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.explanation.answer import describe_change
from dashboards.explanation.change import ExplainedChange, ExplainedPath
from dashboards.explanation.view import ExplanationView
from dashboards.html import formats


def draw_waterfall(run: ExplanationView, path: ExplainedPath) -> go.Figure | None:
    """Draw a path; None before the reference has a value.

    A bar begins where the one before ended. Its interval is that of its own gain, at its end. The dotted line leads to
    the best config. With looks, each step has seeds of its own number, so the line may miss the best config a little.
    """
    if path.reference_mean is None:
        return None
    levels = [path.reference_mean]
    for change in path.changes:
        levels.append(levels[-1] + (change.step["delta"] or 0.0))
    labels = [figures.text(change.name, 26) for change in path.changes]
    lines = max((label.count("<br>") for label in labels), default=0) + 1
    rows = len(path.changes) + 2
    figure = figures.base(80 + (24 + 16 * lines) * rows, bargap=0.35)
    for index, change in enumerate(path.changes, start=1):
        figure.add_trace(_bar(change, index, levels[index - 1]))
        figure.add_trace(_interval(change, index, levels[index - 1]))
    best = levels[-1] if path.best_mean is None else path.best_mean
    ends = {0: (levels[0], "reference"), rows - 1: (best, "best config")}
    for row, (value, name) in ends.items():
        figure.add_trace(
            go.Scatter(
                x=[value],
                y=[row],
                mode="markers",
                marker={"color": figures.BLUE, "symbol": "square", "size": 12},
                hovertext=[f"{name}: {formats.metric(value)}"],
                hoverinfo="text",
                cliponaxis=False,
            )
        )
    for index, value in enumerate(levels):
        line = {"color": figures.GREY, "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=value, x1=value, y0=index, y1=index + 1, line=line, layer="below")
    ticks = ["reference", *labels, "best config"]
    figure.update_yaxes(tickvals=list(range(rows)), ticktext=ticks, range=[rows - 0.5, -0.5], ticks="")
    figure.update_xaxes(title_text=figures.escaped(formats.metric_name(run.metric)))
    return figure


def _color(change: ExplainedChange) -> str:
    return figures.STYLES.get(change.step["verdict"], figures.STYLES["undecided"])[0]


def _bar(change: ExplainedChange, row: int, start: float) -> go.Bar:
    gain = change.step["delta"] or 0.0
    bounds = formats.interval(change.step["delta_low"], change.step["delta_high"], sign=True)
    numbers = f"{formats.signed(change.step['delta'])} {bounds}".rstrip()
    lines = [f"<b>{figures.text(describe_change(change), 44)}</b>", numbers, change.step["verdict"]]
    return go.Bar(
        x=[gain],
        y=[row],
        base=[start],
        orientation="h",
        marker={"color": _color(change), "opacity": 0.4},
        hovertext=["<br>".join(lines)],
        hoverinfo="text",
    )


def _interval(change: ExplainedChange, row: int, start: float) -> go.Scatter:
    """Return the end of a bar, as a mark whose shape repeats the verdict, with the interval of the gain."""
    step = change.step
    gain = step["delta"] or 0.0
    color, symbol = figures.STYLES.get(step["verdict"], figures.STYLES["undecided"])
    has_bounds = step["delta_low"] is not None
    return go.Scatter(
        x=[start + gain],
        y=[row],
        mode="markers",
        marker={"color": color, "symbol": symbol, "size": 9, "line": {"width": 2, "color": color}},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [step["delta_high"] - gain if has_bounds else 0],
            "arrayminus": [gain - step["delta_low"] if has_bounds else 0],
            "color": color,
            "thickness": 1.8,
            "width": 5,
        },
        hoverinfo="skip",
        cliponaxis=False,
    )
