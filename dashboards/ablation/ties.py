"""The effect of tie-breaking on a retrieval's mAP: the values of the worst and the best order of tied items.

Short codes leave many items at the same Hamming distance, and no method earns their order. McSherry and Najork,
"Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008, take the
expectation. A difference smaller than the bracket may come from tie-breaking alone.
"""

from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.ablation.view import Variant, View
from dashboards.html import formats, verdicts
from dashboards.run_data import row_limits
from dashboards.run_data.result_rows import mean

_EXPECTED = "map"
_INDEX = "map_index"
_WORST = "map_worst_ties"
_BEST = "map_best_ties"


@dataclass(frozen=True)
class Bracket:
    """A variant's mAP by the order of tied items: means over finished seeds."""

    worst: float
    expected: float
    best: float
    index: float | None  # in the order in which items are stored


def bracket(variant: Variant) -> Bracket | None:
    """Return a variant's bracket; None if its cells do not record it."""
    cells = [row for row in variant.finished if row.get(_EXPECTED) is not None]
    worst, expected, best = (mean(row.get(name) for row in cells) for name in (_WORST, _EXPECTED, _BEST))
    if not cells or worst is None or expected is None or best is None:
        return None
    return Bracket(worst, expected, best, mean(row.get(_INDEX) for row in cells))


def brackets(run: View) -> go.Figure | None:
    """Draw a bar from the worst to the best maps, one row per variant; None for a run that records no orders."""
    shown = row_limits.shown(run, verdicts.ROWS_IN_FIGURE)
    drawn = [(variant, maps) for variant in shown if (maps := bracket(variant)) is not None]
    if not drawn:
        return None
    labels = [figures.text(variant.label) for variant, _ in drawn]
    row = 14 + 15 * (max(label.count("<br>") for label in labels) + 1) if len(drawn) <= 40 else 22
    figure = figures.base(70 + row * len(drawn))
    rows = list(range(len(drawn)))
    figure.add_trace(
        go.Bar(
            base=[maps.worst for _, maps in drawn],
            x=[maps.best - maps.worst for _, maps in drawn],
            y=rows,
            orientation="h",
            width=0.35,
            marker={"color": "rgba(43,131,186,0.4)", "line": {"width": 0}},
            hovertext=[_hover_text(run, variant, maps) for variant, maps in drawn],
            hoverinfo="text",
        )
    )
    marks = {
        "square": (figures.BLUE, [maps.expected for _, maps in drawn]),
        "x-thin-open": (figures.VERMILLION, [maps.index for _, maps in drawn]),
    }
    for symbol, (color, values) in marks.items():
        figure.add_trace(
            go.Scatter(
                x=values, y=rows, mode="markers", cliponaxis=False, hoverinfo="text",
                marker={"symbol": symbol, "color": color, "size": 9, "line": {"width": 2, "color": color}},
                hovertext=[_hover_text(run, variant, maps) for variant, maps in drawn],
            )
        )  # fmt: skip
    figure.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.5, -0.5], ticks="")
    figure.update_xaxes(title_text=formats.metric_name(_EXPECTED), nticks=8)
    return figure


def _hover_text(run: View, variant: Variant, maps: Bracket) -> str:
    index = [f"index order {formats.metric(maps.index)}"] if maps.index is not None else []
    extremes = f"worst order {formats.metric(maps.worst)}, best {formats.metric(maps.best)}"
    return figures.about(run, variant, f"expected {formats.metric(maps.expected)}", extremes, *index)
