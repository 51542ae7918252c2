"""How the variants learned: a small figure each, the mean over seeds in a band from the lowest to the highest seed."""

from collections.abc import Iterable
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.ablation.view import Variant, View
from dashboards.html import formats

MOST = 12  # small figures on a page
_HELD_OUT = "_validation"  # ends a metric's name where it is computed on the part held out of train
_BAND = "rgba(43,131,186,0.3)"


def shown(run: View) -> list[Variant]:
    """The variants that are drawn: those that were trained, and of many the reference and the largest differences.

    A method that is fitted in one step has no loss and no curve.
    """
    learned = [
        one
        for one in run.variants
        if any(step.get("loss") is not None for history in run.histories.get(one.name, []) for step in history)
    ]
    if len(learned) <= MOST:
        return learned
    ranked = sorted(learned, key=lambda one: (not one.is_reference, -abs(one.compared["delta"] or 0.0)))[:MOST]
    return [one for one in learned if one in ranked]


def series(run: View, variant: str, key: str) -> list[tuple[float, float, float] | None]:
    """(lowest, mean, highest) over seeds, an iteration each; None where no seed has the number."""
    histories = run.histories.get(variant, [])
    found: list[tuple[float, float, float] | None] = []
    for step in range(max((len(history) for history in histories), default=0)):
        values = [history[step].get(key) for history in histories if step < len(history)]
        numbers = [value for value in values if isinstance(value, int | float)]
        found.append((min(numbers), sum(numbers) / len(numbers), max(numbers)) if numbers else None)
    return found


def panels(run: View) -> list[str]:
    """What there is to draw: the loss, and the metric on the validation part when it was computed."""
    held_out = f"{_metric(run)}{_HELD_OUT}"
    return [key for key in ("loss", held_out) if any(any(series(run, one.name, key)) for one in shown(run))]


def figure(run: View, variant: Variant, keys: list[str], ranges: dict[str, list[float]]) -> go.Figure:
    """One variant's curves, the reference's means behind them."""
    out = figures.base(70 + 120 * len(keys), margin={"l": 8, "r": 8, "t": 24, "b": 8})
    share = 1 / len(keys)
    for index, key in enumerate(keys):
        axis = "y" if index == 0 else f"y{index + 1}"
        for trace in _traces(run, variant, key):
            out.add_trace(trace.update(yaxis=axis))
        top, gap = 1 - index * share, 0.13 if index < len(keys) - 1 else 0.0
        words = "loss" if key == "loss" else f"{formats.metric_name(_metric(run))} on the validation part"
        figures.panel(out, axis, (top - share + gap, top), words)
        out.layout[f"yaxis{axis[1:]}"].range = ranges[key]
    out.update_xaxes(title_text=formats.step(run.study), anchor=f"y{len(keys)}" if len(keys) > 1 else "y", nticks=6)
    border = _warm_up(run, variant.name)
    if border:
        out.add_vline(x=border + 0.5, line={"color": figures.GREY, "width": 1, "dash": "dot"})
    return out


def common_ranges(run: View, keys: Iterable[str]) -> dict[str, list[float]]:
    """One range a panel, so that the small figures can be read side by side."""
    ranges = {}
    for key in keys:
        points = [point for one in shown(run) for point in series(run, one.name, key) if point]
        low, high = min(point[0] for point in points), max(point[2] for point in points)
        pad = 0.05 * (high - low or abs(high) or 1.0)
        ranges[key] = [low - pad, high + pad]
    return ranges


def _metric(run: View) -> str:
    """The run's metric by the name that it has on the test split: a search may go by the held-out figure."""
    return run.metric.removesuffix(_HELD_OUT)


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
    """How many iterations came before training."""
    return max((sum(step.get("phase") == "warmup" for step in one) for one in run.histories[variant]), default=0)
