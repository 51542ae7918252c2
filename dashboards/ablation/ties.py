"""How much of a retrieval's mAP is the order of ties: what the worst and the best order would have given.

Short codes leave many items at one Hamming distance, and their order is nobody's merit; McSherry and Najork, "Computing
Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008, take the expectation.
A claim that is smaller than the bracket stands or falls with how ties are broken.
"""

from dataclasses import dataclass

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.ablation.view import Variant, View
from dashboards.html import formats, verdicts
from dashboards.run_data import row_limits
from dashboards.run_data.result_rows import mean

_EXPECTED, _INDEX, _WORST, _BEST = "map", "map_index", "map_worst_ties", "map_best_ties"


@dataclass(frozen=True)
class Bracket:
    """mAP of a variant by the order of ties: means over the seeds that finished."""

    worst: float
    expected: float
    best: float
    index: float | None  # in the order in which items are stored


def bracket(one: Variant) -> Bracket | None:
    """A variant's bracket; None where a finished cell does not tell it."""
    cells = [row for row in one.finished if row.get(_EXPECTED) is not None]
    worst, expected, best = (mean(row.get(name) for row in cells) for name in (_WORST, _EXPECTED, _BEST))
    if not cells or worst is None or expected is None or best is None:
        return None
    return Bracket(worst, expected, best, mean(row.get(_INDEX) for row in cells))


def brackets(run: View) -> go.Figure | None:
    """A bar from the worst to the best order of ties, a row a variant; None for a run that does not tell them."""
    found = [(one, own) for one in row_limits.shown(run, verdicts.ROWS_IN_FIGURE) if (own := bracket(one)) is not None]
    if not found:
        return None
    labels = [figures.text(one.label) for one, _ in found]
    row = 14 + 15 * (max(label.count("<br>") for label in labels) + 1) if len(found) <= 40 else 22
    figure = figures.base(70 + row * len(found))
    rows = list(range(len(found)))
    figure.add_trace(
        go.Bar(
            base=[own.worst for _, own in found],
            x=[own.best - own.worst for _, own in found],
            y=rows,
            orientation="h",
            width=0.35,
            marker={"color": "rgba(43,131,186,0.4)", "line": {"width": 0}},
            hovertext=[_words(run, one, own) for one, own in found],
            hoverinfo="text",
        )
    )
    marks = {
        "square": (figures.BLUE, [own.expected for _, own in found]),
        "x-thin-open": (figures.VERMILLION, [own.index for _, own in found]),
    }
    for symbol, (colour, values) in marks.items():
        figure.add_trace(
            go.Scatter(
                x=values, y=rows, mode="markers", cliponaxis=False, hoverinfo="text",
                marker={"symbol": symbol, "color": colour, "size": 9, "line": {"width": 2, "color": colour}},
                hovertext=[_words(run, one, own) for one, own in found],
            )
        )  # fmt: skip
    figure.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.5, -0.5], ticks="")
    figure.update_xaxes(title_text=formats.metric_name(_EXPECTED), nticks=8)
    return figure


def _words(run: View, one: Variant, own: Bracket) -> str:
    index = [f"index order {formats.metric(own.index)}"] if own.index is not None else []
    order = f"worst order {formats.metric(own.worst)}, best {formats.metric(own.best)}"
    return figures.about(run, one, f"expected {formats.metric(own.expected)}", order, *index)
