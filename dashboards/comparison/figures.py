"""The figures of a comparison: means of every run side by side, and differences from the first run."""

from collections import Counter
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.ablation.variant import Variant
from dashboards.comparison.tables import largest_matches, test_text, verdict_text
from dashboards.comparison.view import SAME_CELLS, Comparison, Match
from dashboards.html import formats, verdicts

# Okabe and Ito's colors, each with its own symbol, so that color is never the only difference. More runs reuse them.
_RUN_STYLES = (
    (figures.BLUE, "circle"),
    (figures.VERMILLION, "square"),
    (figures.GREEN, "diamond"),
    ("#cc79a7", "triangle-up"),
    ("#e69f00", "x"),
    ("#56b4e9", "star"),
    (figures.GREY, "hexagon"),
)
Bounds = tuple[float | None, float | None, float | None]  # middle, low, high


def draw_means(comparison: Comparison) -> go.Figure | None:
    """Draw the mean of every variant with its interval, one row per variant and one mark per run; None without any."""
    names = order_variants(comparison)[: verdicts.ROWS_IN_FIGURE]
    if not names:
        return None
    position = {name: index for index, name in enumerate(names)}
    labels = {variant.name: variant.label for run in comparison.runs.values() for variant in run.variants}
    number = len(comparison.runs)
    figure = _row_figure([figures.text(labels[name]) for name in names], 18 + 9 * number)
    for index, (run_name, run) in enumerate(comparison.runs.items()):
        variants = [
            variant for variant in run.variants if variant.name in position and variant.compared["mean"] is not None
        ]
        offset = (index - (number - 1) / 2) * 0.7 / number  # the runs of a variant are below each other
        color, symbol = _RUN_STYLES[index % len(_RUN_STYLES)]
        figure.add_trace(
            go.Scatter(
                x=[variant.compared["mean"] for variant in variants],
                y=[position[variant.name] + offset for variant in variants],
                name=figures.escaped(run_name),
                mode="markers",
                marker={"color": color, "symbol": symbol, "size": 9},
                error_x=_error_bars([_bounds(variant) for variant in variants], color),
                hovertext=[_hover_mean(run_name, variant) for variant in variants],
                hoverinfo="text",
            )
        )
    legend = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
    figure.update_layout(showlegend=True, legend=legend, margin={"t": 40})
    figure.update_xaxes(title_text=figures.escaped(formats.metric_name(comparison.first_run.metric)))
    return figure


def order_variants(comparison: Comparison) -> list[str]:
    """Return the names of variants: first those that several runs have, then the rest."""
    counts = Counter(name for run in comparison.runs.values() for name in {variant.name for variant in run.variants})
    return sorted(comparison.variant_names, key=lambda name: counts[name] == 1)


def draw_differences(comparison: Comparison) -> go.Figure | None:
    """Draw the differences from the first run with their intervals; None without any."""
    matches = [
        match for match in largest_matches(comparison, verdicts.ROWS_IN_FIGURE) if match.difference.delta is not None
    ]
    if not matches:
        return None
    figure = _row_figure([figures.text(_row_name(comparison, match)) for match in matches], 20)
    figure.add_vline(x=0, line={"color": figures.GREY, "width": 1.5})
    styles = {**figures.STYLES, SAME_CELLS: (figures.GREY, "line-ns-open")}
    for verdict, (color, symbol) in styles.items():
        rows = [index for index, match in enumerate(matches) if match.verdict == verdict]
        differences = [matches[index].difference for index in rows]
        if rows:
            figure.add_trace(
                go.Scatter(
                    x=[difference.delta for difference in differences],
                    y=rows,
                    mode="markers",
                    marker={"color": color, "symbol": symbol, "size": 12, "line": {"width": 2, "color": color}},
                    error_x=_error_bars(
                        [(difference.delta, difference.low, difference.high) for difference in differences], color
                    ),
                    hovertext=[_hover_difference(comparison, matches[index]) for index in rows],
                    hoverinfo="text",
                )
            )
    metric = figures.escaped(formats.metric_name(comparison.first_run.metric))
    title = f"difference in {metric}<br>from {figures.text(comparison.first_name, 40)}"
    figure.update_xaxes(title_text=title, tickformat="+")
    return figure


def _row_figure(labels: list[str], least: int) -> go.Figure:
    """Return an empty figure with one row per label, at least `least` pixels high."""
    row = max(least, 20 + 16 * max(label.count("<br>") for label in labels))
    figure = figures.base(84 + row * len(labels))
    figure.update_yaxes(tickvals=list(range(len(labels))), ticktext=labels, range=[len(labels) - 0.5, -0.5], ticks="")
    return figure


def _bounds(variant: Variant) -> Bounds:
    return variant.compared["mean"], *variant.mean_interval


def _error_bars(bounds: list[Bounds], color: str) -> dict[str, Any]:
    """Return plotly's error bars: the distances from the middle to both bounds, 0 without an interval."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if high is None or middle is None else high - middle for middle, _, high in bounds],
        "arrayminus": [0 if low is None or middle is None else middle - low for middle, low, _ in bounds],
        "color": color,
        "thickness": 2,
        "width": 0,
    }


def _row_name(comparison: Comparison, match: Match) -> str:
    return match.label if len(comparison.runs) == 2 else f"{match.label}, {match.run}"


def _hover_mean(run_name: str, variant: Variant) -> str:
    value = f"{formats.metric(variant.compared['mean'])} {formats.interval(*variant.mean_interval)}"
    return f"<b>{figures.text(variant.label, 40)}</b><br>{figures.text(run_name, 40)}: {value}"


def _hover_difference(comparison: Comparison, match: Match) -> str:
    difference = match.difference
    bounds = formats.interval(difference.low, difference.high, sign=True)
    lines = [f"<b>{figures.text(_row_name(comparison, match), 40)}</b>", verdict_text(match)]
    lines += [f"{formats.signed(difference.delta)} {bounds}", test_text(match)]
    return "<br>".join(lines + [figures.text(change, 60) for change in match.changes[:8]])
