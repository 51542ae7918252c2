"""How the configs of a search learned, where early stopping ended them, and the seeds that judged the best."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.html import formats
from dashboards.search.figures import drawn, points
from dashboards.search.final_evaluation import BEST, REFERENCE, Judged
from dashboards.search.view import Config, SearchView

MOST_CURVES = 60  # that an eye tells apart


def curves(run: SearchView, group: str) -> go.Figure | None:
    """The first metric over the iterations of the tuning cells; crosses are where early stopping ended one."""
    metric = run.metrics[0]
    shown = [(one, _curve(one, metric)) for one in drawn(run, group, MOST_CURVES * len(run.groups))]
    shown = [(one, steps) for one, steps in shown if steps]
    if not shown:
        return None
    figure = figures.base(360)
    best = run.best(group)
    for status, colour in (("stopped", figures.GREY), ("finished", figures.BLUE)):
        members = [(one, steps) for one, steps in shown if one.status == status and one is not best]
        if members:
            figure.add_trace(_lines(members, {"color": colour, "width": 1}))
    stopped = [(one, steps[-1]) for one, steps in shown if one.status == "stopped"]
    if stopped:
        x, y = [x for _, (x, _) in stopped], [y for _, (_, y) in stopped]
        figure.add_trace(points(run, [one for one, _ in stopped], x, y, figures.VERMILLION, "x-thin-open"))
    own = [(one, steps) for one, steps in shown if one is best]
    if own:
        figure.add_trace(_lines(own, {"color": figures.GREEN, "width": 3}))
    figure.update_xaxes(title_text=formats.step(run.study), nticks=8)
    figure.update_yaxes(title_text=figures.escaped(formats.metric_name(metric)))
    return figure


def judging(judged: Sequence[Judged]) -> go.Figure | None:
    """Every judging seed with the reference and with the best config, joined, and the means; None without a seed."""
    if not any(one.values[kind] for one in judged for kind in (REFERENCE, BEST)):
        return None
    figure = figures.base(340)
    for index, one in enumerate(judged):
        at = {REFERENCE: 3 * index, BEST: 3 * index + 1}
        for seed in sorted(one.values[REFERENCE].keys() | one.values[BEST].keys()):
            both = [(at[kind], one.values[kind][seed]) for kind in at if seed in one.values[kind]]
            line = {"color": figures.GREY, "width": 1}
            figure.add_trace(
                go.Scatter(
                    x=[x for x, _ in both], y=[y for _, y in both], mode="lines+markers", line=line,
                    marker={"size": 5, "color": figures.GREY}, hovertemplate=f"seed {seed}: %{{y:.4f}}<extra></extra>",
                )
            )  # fmt: skip
        for kind, row, colour in ((REFERENCE, one.reference, figures.BLUE), (BEST, one.best, figures.GREEN)):
            if row["mean"] is not None:
                figure.add_trace(_mean_with_interval(at[kind], row, colour))
    ticks = {3 * index + 0.5: figures.escaped(one.group) for index, one in enumerate(judged)}
    if not judged[0].group:
        ticks = {0: REFERENCE, 1: BEST}
    figure.update_xaxes(tickvals=list(ticks), ticktext=list(ticks.values()), range=[-0.7, 3 * len(judged) - 1.3])
    figure.update_yaxes(title_text=figures.escaped(formats.metric_name(judged[0].metric)))
    return figure


def _curve(one: Config, metric: str) -> list[tuple[int, float]]:
    """(iteration, mean over the seeds that came so far)."""
    found: dict[int, list[float]] = {}
    for history in one.histories:
        for index, step in enumerate(history):
            if isinstance(step.get(metric), int | float):
                found.setdefault(step.get("iteration", index + 1), []).append(step[metric])
    return [(step, sum(values) / len(values)) for step, values in sorted(found.items())]


def _lines(members: Sequence[tuple[Config, list[tuple[int, float]]]], line: dict[str, Any]) -> go.Scatter:
    """Curves as one trace, with gaps between them."""
    x: list[float | None] = []
    y: list[float | None] = []
    words: list[str] = []
    for one, steps in members:
        x += [*(step for step, _ in steps), None]
        y += [*(value for _, value in steps), None]
        words += [f"{figures.text(one.name, 40)}<br>{one.status}"] * (len(steps) + 1)
    return go.Scatter(x=x, y=y, mode="lines", line=line, hovertext=words, hoverinfo="text+y", opacity=0.8)


def _mean_with_interval(at: float, row: Mapping[str, Any], colour: str) -> go.Scatter:
    low, high = row["ci_low"], row["ci_high"]
    above, below = (0 if bound is None else abs(bound - row["mean"]) for bound in (high, low))
    error = {"array": [above], "arrayminus": [below]}
    words = f"mean {formats.metric(row['mean'])} {formats.interval(low, high)}"
    return go.Scatter(
        x=[at], y=[row["mean"]], mode="markers", hovertext=[words], hoverinfo="text",
        marker={"color": colour, "symbol": "square", "size": 12},
        error_y={"type": "data", "symmetric": False, **error, "color": colour, "thickness": 2.5, "width": 6},
    )  # fmt: skip
