"""The figures of a comparison: means of every run side by side, and differences from the first run."""

from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.ablation.view import Variant
from dashboards.comparison.tables import ranked, test_of, verdict
from dashboards.comparison.view import Comparison, Match
from dashboards.html import formats

IN_FIGURE = 60  # rows that can still be read
# Okabe and Ito's, and plotly's symbols, so that colour never speaks alone; runs beyond these begin again
_RUNS = (
    (figures.BLUE, "circle"), (figures.VERMILLION, "square"), (figures.GREEN, "diamond"), ("#cc79a7", "triangle-up"),
    ("#e69f00", "x"), ("#56b4e9", "star"), (figures.GREY, "hexagon"),
)  # fmt: skip


def means(shown: Comparison) -> go.Figure | None:
    """The mean of every variant with its interval, a row a variant, a mark a run; None without any."""
    names = rows_of_means(shown)[:IN_FIGURE]
    at = {name: index for index, name in enumerate(names)}
    labels = {one.name: one.label for run in shown.runs.values() for one in run.variants}
    if not names:
        return None
    figure = _rows([figures.text(labels[name]) for name in names], 18 + 9 * len(shown.runs))
    step = 0.7 / len(shown.runs)  # runs of a variant stand under each other
    for index, (called, run) in enumerate(shown.runs.items()):
        own = [one for one in run.variants if one.name in at and one.compared["mean"] is not None]
        where = [at[one.name] + (index - (len(shown.runs) - 1) / 2) * step for one in own]
        colour, symbol = _RUNS[index % len(_RUNS)]
        figure.add_trace(
            go.Scatter(
                x=[one.compared["mean"] for one in own],
                y=where,
                name=figures.escaped(called),
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 9},
                error_x=_bars([_bounds(one) for one in own], colour),
                hovertext=[_hover_mean(called, one) for one in own],
                hoverinfo="text",
            )
        )
    figure.update_layout(
        showlegend=True, legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}, margin={"t": 40}
    )
    figure.update_xaxes(title_text=figures.escaped(formats.metric_name(shown.one.metric)))
    return figure


def rows_of_means(shown: Comparison) -> list[str]:
    """Names of variants: those that several runs have, then the rest."""
    counts = {name: sum(any(one.name == name for one in run.variants) for run in shown.runs.values())
              for name in shown.names} if len(shown.names) <= 500 else dict.fromkeys(shown.names, 1)  # fmt: skip
    return sorted(shown.names, key=lambda name: counts[name] == 1)


def differences(shown: Comparison) -> go.Figure | None:
    """Differences from the first run with their intervals; None without any."""
    rows = [one for one in ranked(shown, IN_FIGURE) if one.difference.delta is not None]
    if not rows:
        return None
    labels = [figures.text(_row_name(shown, one)) for one in rows]
    figure = _rows(labels, 20)
    figure.add_vline(x=0, line={"color": figures.GREY, "width": 1.5})
    styles = {**figures.STYLES, "same cells": (figures.GREY, "line-ns-open")}
    for name, (colour, symbol) in styles.items():
        at = [index for index, one in enumerate(rows) if one.verdict == name]
        found = [rows[index].difference for index in at]
        if at:
            figure.add_trace(
                go.Scatter(
                    x=[one.delta for one in found],
                    y=at,
                    mode="markers",
                    marker={"color": colour, "symbol": symbol, "size": 12, "line": {"width": 2, "color": colour}},
                    error_x=_bars([(one.delta, one.low, one.high) for one in found], colour),
                    hovertext=[_hover(shown, rows[index]) for index in at],
                    hoverinfo="text",
                )
            )
    metric = figures.escaped(formats.metric_name(shown.one.metric))
    title = f"difference in {metric}<br>from {figures.text(shown.first, 40)}"
    figure.update_xaxes(title_text=title, tickformat="+")
    return figure


def _rows(labels: list[str], least: int) -> go.Figure:
    """An empty figure with a row for each label."""
    row = max(least, 20 + 16 * max(label.count("<br>") for label in labels))
    figure = figures.base(84 + row * len(labels))
    figure.update_yaxes(tickvals=list(range(len(labels))), ticktext=labels, range=[len(labels) - 0.5, -0.5], ticks="")
    return figure


def _bounds(one: Variant) -> tuple[float | None, float | None, float | None]:
    return one.compared["mean"], one.compared["ci_low"], one.compared["ci_high"]


def _bars(found: list[tuple[float | None, float | None, float | None]], colour: str) -> dict[str, Any]:
    """Intervals as plotly wants them: distances from (middle, low, high) to both sides; none where there is none."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if high is None or middle is None else high - middle for middle, _, high in found],
        "arrayminus": [0 if low is None or middle is None else middle - low for middle, low, _ in found],
        "color": colour,
        "thickness": 2,
        "width": 0,
    }


def _row_name(shown: Comparison, one: Match) -> str:
    return one.label if len(shown.runs) == 2 else f"{one.label}, {one.run}"


def _hover_mean(called: str, one: Variant) -> str:
    row = one.compared
    words = f"{formats.metric(row['mean'])} {formats.interval(row['ci_low'], row['ci_high'])}"
    return f"<b>{figures.text(one.label, 40)}</b><br>{figures.text(called, 40)}: {words}"


def _hover(shown: Comparison, one: Match) -> str:
    found = one.difference
    words = [f"<b>{figures.text(_row_name(shown, one), 40)}</b>", verdict(one)]
    words += [f"{formats.signed(found.delta)} {formats.interval(found.low, found.high, sign=True)}", test_of(one)]
    return "<br>".join(words + [figures.text(change, 60) for change in one.changes[:8]])
