"""The plot of effects: each variant's paired difference from the reference, its interval, and every seed's difference.

A mean of a few seeds can hide that a single seed made the difference. So every seed is drawn beside the interval.
"""

import plotly.graph_objects as go

from dashboards.ablation import figures, row_limits, tables, view
from dashboards.ablation.variant import Variant
from dashboards.html import formats, verdicts

SEEDS = "seeds"  # name of the trace with one dot per seed
_GOLDEN = 0.618  # its multiples spread evenly, however many there are
_NEAREST = 0.16  # share of a row between the interval and the first dots
_DEPTH = 0.22  # share of a row over which the dots are spread


def effects(run: view.View) -> go.Figure | None:
    """Draw the differences from the reference with their intervals; None if there is nothing to compare."""
    shown = [variant for variant in row_limits.shown(run, verdicts.ROWS_IN_FIGURE) if not variant.is_reference]
    if not shown:
        return None
    labels, lines = figures.row_labels(shown)
    row = (24 if len(shown) <= figures.MANY_ROWS else 8) + 16 * lines
    figure = figures.base(70 + row * len(shown))
    figure.add_vline(x=0, line={"color": figures.GREY, "width": 1.5})
    # the text of a missing result is beside zero, on the side with more room
    side = "middle left" if sum(variant.compared["delta"] or 0.0 for variant in shown) < 0 else "middle right"
    if any(run.differences(variant) for variant in shown):
        figure.add_trace(_seeds(run, shown))
    for name, (colour, symbol) in figures.STYLES.items():
        at = [index for index, variant in enumerate(shown) if variant.verdict == name]
        if at:
            figure.add_trace(_intervals(run, [shown[index] for index in at], at, colour, symbol, side))
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=labels, range=[len(shown) - 0.5, -0.5], ticks="")
    metric = figures.escaped(formats.metric_name(run.metric))
    figure.update_xaxes(title_text=f"difference in {metric}<br>from the reference", tickformat="+")
    return figure


def offset(rank: int) -> float:
    """Return the distance of a seed's dot below its row, in rows.

    It depends on the seed's rank alone, so that a seed can be followed down the plot.

    >>> [round(offset(rank), 2) for rank in range(3)]
    [0.16, 0.3, 0.21]
    """
    return _NEAREST + _DEPTH * (rank * _GOLDEN % 1)


def _seeds(run: view.View, shown: list[Variant]) -> go.Scatter:
    rank = {seed: index for index, seed in enumerate(sorted({row["seed"] for row in run.rows}))}
    dots = [
        (value, index + offset(rank[seed]), seed)
        for index, variant in enumerate(shown)
        for seed, value in sorted(run.differences(variant).items())
    ]
    return go.Scatter(
        name=SEEDS,
        x=[value for value, _, _ in dots],
        y=[height for _, height, _ in dots],
        mode="markers",
        marker={"color": figures.GREY, "size": 6, "opacity": 0.85},
        hovertext=[f"seed {seed}: {formats.signed(value)}" for value, _, seed in dots],
        hoverinfo="text",
    )


def _intervals(
    run: view.View, members: list[Variant], at: list[int], colour: str, symbol: str, side: str
) -> go.Scatter:
    rows = [variant.compared for variant in members]
    missing = members[0].verdict == "no result"
    delta = [0.0 if row["delta"] is None else row["delta"] for row in rows]
    return go.Scatter(
        x=delta,
        y=at,
        mode="markers+text" if missing else "markers",
        text=["no finished cell\u2003" if "left" in side else "\u2003no finished cell"] * len(members)
        if missing
        else None,
        textposition=side,
        cliponaxis=False,
        marker={"color": colour, "symbol": symbol, "size": 12, "line": {"width": 2, "color": colour}},
        error_x={
            "array": [0 if row["delta_high"] is None else row["delta_high"] - row["delta"] for row in rows],
            "arrayminus": [0 if row["delta_low"] is None else row["delta"] - row["delta_low"] for row in rows],
            "type": "data",
            "symmetric": False,
            "color": colour,
            "thickness": 2,
            "width": 0,
        },
        hovertext=[figures.about(run, variant, tables.verdict(variant), *_numbers(variant)) for variant in members],
        hoverinfo="text",
    )


def _numbers(variant: Variant) -> list[str]:
    row = variant.compared
    if row["delta"] is None:
        return []
    bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
    p_value = [f"p (Holm) {formats.p_value(row['p_holm'])}"] if row["delta_low"] is not None else []
    details = ", ".join([*p_value, formats.count(row["seeds"], "seed")])
    return [f"{formats.signed(row['delta'])} {bounds}".rstrip(), details]
