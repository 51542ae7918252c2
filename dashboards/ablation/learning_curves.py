"""Learning curves: a small figure per variant, with the mean over seeds in a band from the lowest to the highest."""

from collections.abc import Iterable
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import formats

MAX_FIGURES = 12  # small ones on a page
_HELD_OUT = "_validation"  # suffix of a metric on the part held out of train
_BAND = "rgba(43,131,186,0.3)"


def shown(run: View) -> list[Variant]:
    """Return the variants to draw: those with a curve, and of many the reference and the largest differences.

    A method that is fitted in one step has no loss and therefore no curve.
    """
    keys = _keys(run)
    learned = [
        variant
        for variant in run.variants
        if any(not keys.isdisjoint(step) for steps in run.histories.get(variant.name, []) for step in steps)
    ]
    if len(learned) <= MAX_FIGURES:
        return learned
    ranked = sorted(learned, key=lambda variant: (not variant.is_reference, -abs(variant.compared["delta"] or 0.0)))[
        :MAX_FIGURES
    ]
    return [variant for variant in learned if variant in ranked]


def series(run: View, variant: str, key: str) -> list[tuple[float, float, float] | None]:
    """Return (lowest, mean, highest) over seeds for each iteration; None if no seed has a number there."""
    histories = run.histories.get(variant, [])
    points: list[tuple[float, float, float] | None] = []
    for step in range(max((len(history) for history in histories), default=0)):
        values = [history[step].get(key) for history in histories if step < len(history)]
        numbers = [value for value in values if isinstance(value, int | float)]
        points.append((min(numbers), sum(numbers) / len(numbers), max(numbers)) if numbers else None)
    return points


def panels(run: View) -> list[str]:
    """Return the keys to draw: the loss, and the metric on the validation part if it was computed."""
    drawn = shown(run)
    keys = ("loss", f"{_metric(run)}{_HELD_OUT}", *sorted(_keys(run)))
    return [key for key in dict.fromkeys(keys) if any(any(series(run, variant.name, key)) for variant in drawn)]


def figure(run: View, variant: Variant, keys: list[str], ranges: dict[str, list[float]]) -> go.Figure:
    """Draw one variant's curves, with the reference's means behind them."""
    drawing = figures.base(70 + 120 * len(keys), margin={"l": 8, "r": 8, "t": 24, "b": 8})
    share = 1 / len(keys)
    for index, key in enumerate(keys):
        axis = "y" if index == 0 else f"y{index + 1}"
        for trace in _traces(run, variant, key):
            drawing.add_trace(trace.update(yaxis=axis))
        top = 1 - index * share
        gap = 0.13 if index < len(keys) - 1 else 0.0
        title = _titles(run).get(key, formats.metric_name(key))
        figures.panel(drawing, axis, (top - share + gap, top), title)
        drawing.layout[f"yaxis{axis[1:]}"].range = ranges[key]
    drawing.update_xaxes(title_text=formats.step(run.study), anchor=f"y{len(keys)}" if len(keys) > 1 else "y", nticks=6)
    border = _warm_up(run, variant.name)
    if border:
        drawing.add_vline(x=border + 0.5, line={"color": figures.GREY, "width": 1, "dash": "dot"})
    return drawing


def common_ranges(run: View, keys: Iterable[str]) -> dict[str, list[float]]:
    """Return one range per panel, so that the small figures can be compared."""
    ranges = {}
    for key in keys:
        points = [point for variant in shown(run) for point in series(run, variant.name, key) if point]
        low = min(point[0] for point in points)
        high = max(point[2] for point in points)
        pad = 0.05 * (high - low or abs(high) or 1.0)
        ranges[key] = [low - pad, high + pad]
    return ranges


def _metric(run: View) -> str:
    """Return the name of the metric on the test split. A search may choose by the held-out one."""
    return run.metric.removesuffix(_HELD_OUT)


def _keys(run: View) -> set[str]:
    """Return the keys that make a curve: the loss, and of imported results the metric itself."""
    return {"loss", run.metric} if run.study.imported else {"loss"}


def _titles(run: View) -> dict[str, str]:
    return {f"{_metric(run)}{_HELD_OUT}": f"{formats.metric_name(_metric(run))} on the validation part"}


def _traces(run: View, variant: Variant, key: str) -> list[go.Scatter]:
    points = [(step + 1, point) for step, point in enumerate(series(run, variant.name, key)) if point]
    x = [step for step, _ in points]
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    traces = [
        go.Scatter(x=x, y=[point[0] for _, point in points], **edge),
        go.Scatter(x=x, y=[point[2] for _, point in points], fill="tonexty", fillcolor=_BAND, **edge),
    ]
    if not variant.is_reference:
        behind = series(run, variant.reference, key)
        traces.append(
            go.Scatter(
                x=[step + 1 for step, point in enumerate(behind) if point],
                y=[point[1] for point in behind if point],
                mode="lines",
                line={"color": figures.GREY, "width": 1.5, "dash": "dash"},
                hovertemplate="reference %{y:.4g}<extra></extra>",
            )
        )
    traces.append(
        go.Scatter(
            x=x,
            y=[point[1] for _, point in points],
            mode="lines+markers",
            line={"color": figures.BLUE, "width": 2.5},
            marker={"size": 4},
            hovertext=[
                figures.about(run, variant, f"{formats.step(run.study)} {step}: {point[1]:.4g}")
                for step, point in points
            ],
            hoverinfo="text",
        )
    )
    return traces


def _warm_up(run: View, variant: str) -> int:
    """Return the number of warm-up iterations."""
    return max((sum(step.get("phase") == "warmup" for step in steps) for steps in run.histories[variant]), default=0)
