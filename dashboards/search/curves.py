"""Learning curves of a search's configs, and the seeds of the final evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.html import formats
from dashboards.run_data import MetricRange
from dashboards.search.figures import config_markers, sample_configs
from dashboards.search.final_evaluation import BEST, REFERENCE, FinalEvaluation
from dashboards.search.tried_configs import TriedConfig
from dashboards.search.view import SearchView

MAX_CURVES = 60  # that a reader can tell apart

Curve = list[tuple[int, float]]  # (iteration, value)


def draw_curves(run: SearchView, group: str) -> go.Figure | None:
    """Draw the first metric over the iterations; crosses mark where early stopping ended a config. None if empty."""
    metric = run.metrics[0]
    configs = sample_configs(run, group, MAX_CURVES * len(run.groups))
    curves = [(config, curve) for config in configs if (curve := _mean_curve(config, metric))]
    if not curves:
        return None
    figure = figures.base(360)
    best = run.best(group)
    for status, color in (("stopped", figures.GREY), ("finished", figures.BLUE)):
        members = [(config, curve) for config, curve in curves if config.status == status and config is not best]
        if members:
            figure.add_trace(_lines(members, {"color": color, "width": 1}))
    stopped = [(config, curve[-1]) for config, curve in curves if config.status == "stopped"]
    if stopped:
        x = [step for _, (step, _) in stopped]
        y = [value for _, (_, value) in stopped]
        configs = [config for config, _ in stopped]
        figure.add_trace(config_markers(run, configs, x, y, figures.VERMILLION, "x-thin-open"))
    chosen = [(config, curve) for config, curve in curves if config is best]
    if chosen:
        figure.add_trace(_lines(chosen, {"color": figures.GREEN, "width": 3}))
    figure.update_xaxes(title_text=formats.step(run.study), nticks=8)
    figure.update_yaxes(title_text=figures.escaped(formats.metric_name(metric)))
    return figure


def draw_final_evaluations(evaluations: Sequence[FinalEvaluation]) -> go.Figure | None:
    """Draw each seed with the reference and with the best config, joined, and the means; None without a seed."""
    if not any(evaluation.values[kind] for evaluation in evaluations for kind in (REFERENCE, BEST)):
        return None
    figure = figures.base(340)
    for index, evaluation in enumerate(evaluations):
        positions = {REFERENCE: 3 * index, BEST: 3 * index + 1}
        for seed in sorted(evaluation.values[REFERENCE].keys() | evaluation.values[BEST].keys()):
            kinds = [kind for kind in positions if seed in evaluation.values[kind]]
            figure.add_trace(
                go.Scatter(
                    x=[positions[kind] for kind in kinds],
                    y=[evaluation.values[kind][seed] for kind in kinds],
                    mode="lines+markers",
                    line={"color": figures.GREY, "width": 1},
                    marker={"size": 5, "color": figures.GREY},
                    hovertemplate=f"seed {seed}: %{{y:.4f}}<extra></extra>",
                )
            )
        means = ((REFERENCE, evaluation.reference, figures.BLUE), (BEST, evaluation.best, figures.GREEN))
        for kind, row, color in means:
            if row["mean"] is not None:
                figure.add_trace(_mean_with_interval(positions[kind], row, color, evaluation.limits))
    ticks = {3 * index + 0.5: figures.escaped(evaluation.group) for index, evaluation in enumerate(evaluations)}
    if not evaluations[0].group:
        ticks = {0: REFERENCE, 1: BEST}
    width = [-0.7, 3 * len(evaluations) - 1.3]
    figure.update_xaxes(tickvals=list(ticks), ticktext=list(ticks.values()), range=width)
    figure.update_yaxes(title_text=figures.escaped(formats.metric_name(evaluations[0].metric)))
    return figure


def _mean_curve(config: TriedConfig, metric: str) -> Curve:
    """Average a config's curves over the seeds that reached each iteration."""
    values: dict[int, list[float]] = {}
    for history in config.histories:
        for index, step in enumerate(history):
            if isinstance(step.get(metric), int | float):
                values.setdefault(step.get("iteration", index + 1), []).append(step[metric])
    return [(step, sum(seeds) / len(seeds)) for step, seeds in sorted(values.items())]


def _lines(members: Sequence[tuple[TriedConfig, Curve]], line: dict[str, Any]) -> go.Scatter:
    """Return curves as one trace, with gaps between them."""
    x: list[float | None] = []
    y: list[float | None] = []
    hover: list[str] = []
    for config, curve in members:
        x += [*(step for step, _ in curve), None]
        y += [*(value for _, value in curve), None]
        hover += [f"{figures.text(config.name, 40)}<br>{config.status}"] * (len(curve) + 1)
    return go.Scatter(x=x, y=y, mode="lines", line=line, hovertext=hover, hoverinfo="text+y", opacity=0.8)


def _mean_with_interval(position: float, row: Mapping[str, Any], color: str, limits: MetricRange) -> go.Scatter:
    low, high = limits.cut(row["ci_low"], row["ci_high"])
    above, below = (0 if bound is None else abs(bound - row["mean"]) for bound in (high, low))
    hover = f"mean {formats.metric(row['mean'])} {formats.interval(low, high)}"
    return go.Scatter(
        x=[position],
        y=[row["mean"]],
        mode="markers",
        hovertext=[hover],
        hoverinfo="text",
        marker={"color": color, "symbol": "square", "size": 12},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [above],
            "arrayminus": [below],
            "color": color,
            "thickness": 2.5,
            "width": 6,
        },
    )
