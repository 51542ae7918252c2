"""The house style of the figures, what they tell of a variant, the heat map of two factors and the plot of cost.

Colours are Okabe and Ito's, which people with any colour vision tell apart, and never speak alone: shapes say the same.
Texts, grids and backgrounds are left to the page's style sheet, which knows light, dark and print.
"""

import html
import textwrap
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation.view import Variant, View
from dashboards.html import formats, verdicts
from dashboards.run_data import config_changes, row_limits

BLUE, VERMILLION, GREEN, GREY = "#2b83ba", "#d55e00", "#009e73", "#808890"
_MOST_LINES = 6  # of a label
STYLES = {  # verdict -> colour and plotly's symbol
    "better": (GREEN, "triangle-up"),
    "worse": (VERMILLION, "triangle-down"),
    "undecided": (GREY, "circle-open"),
    "no interval": (GREY, "diamond-open"),
    "no result": (GREY, "x-thin-open"),
    "reference": (BLUE, "square"),
}
_MOST_CHANGES = 6  # lines that a reader takes in while pointing


def base(height: int, **layout: Any) -> go.Figure:
    """An empty figure in the house style."""
    figure = go.Figure()
    axis = {"zeroline": False, "automargin": True, "ticks": "outside", "ticklen": 4, "fixedrange": True}
    axis |= {"title": {"font": {"size": 13}, "standoff": 8}}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 12, "t": 12, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        showlegend=False,
        hovermode="closest",
        xaxis=axis,
        yaxis=axis,
    )
    return figure.update_layout(layout)


def escaped(words: str) -> str:
    """Text for plotly, which reads a little HTML and knows few entities: `&quot;` is none of them.

    >>> escaped('<b> & "c"')
    '&lt;b&gt; &amp; "c"'
    """
    return html.escape(words, quote=False)  # without a `<` no quote can end anything


def text(words: str, width: int = 22) -> str:
    """Text for plotly: escaped, broken to fit beside an axis on a phone, and cut when long."""
    lines: list[str] = []
    for part in words.replace(" (", "\n(").replace(", ", ",\n").split("\n") if len(words) > width else [words]:
        if lines and len(lines[-1]) + len(part) < width:
            lines[-1] += f" {part}"
        else:
            lines += textwrap.wrap(part, width) or [""]
    if len(lines) > _MOST_LINES:  # every row of a figure is as high as its highest label
        lines = [*lines[: _MOST_LINES - 1], f"{lines[_MOST_LINES - 1]}\N{HORIZONTAL ELLIPSIS}"]
    return "<br>".join(escaped(line) for line in lines)


def panel(figure: go.Figure, name: str, domain: tuple[float, float], words: str) -> None:
    """Give a y axis (`y`, `y2`) its share of the height and its title above it, where it takes no width."""
    style = figure.layout.yaxis.to_plotly_json() | {"domain": list(domain), "anchor": "x", "nticks": 5}
    figure.update_layout({f"yaxis{name[1:]}": style})
    figure.add_annotation(
        text=escaped(words), xref="paper", x=0, xanchor="left", yref="paper", y=domain[1], yanchor="bottom",
        showarrow=False, font={"size": 12}, yshift=3,
    )  # fmt: skip


def about(run: View, one: Variant, *numbers: str) -> str:
    """What a variant tells of itself wherever it is drawn: its name, these numbers, and what its config changes.

    Args:
        run: that the variant is of.
        one: the variant.
        numbers: that are drawn, escaped.
    """
    changed = config_changes.changes(run, one)
    shown = changed[:_MOST_CHANGES]
    words = [text(f"{path}: {before} \N{RIGHTWARDS ARROW} {after}", 44) for path, before, after in shown]
    if changed[_MOST_CHANGES:]:
        words.append(f"and {len(changed) - _MOST_CHANGES} more settings")
    return "<br>".join([f"<b>{text(one.label, 40)}</b>", *(word for word in numbers if word), *words])


def heat_map(run: View) -> go.Figure | None:
    """Means over two crossed factors; None for another design."""
    if run.study.get("design") != "full" or len(run.factors) != 2:
        return None
    down, across = run.factors
    rows, columns = (levels(run, factor) for factor in (down, across))
    means: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    hover = [[""] * len(columns) for _ in rows]
    row_of, column_of = ({formats.level(level): index for index, level in enumerate(own)} for own in (rows, columns))
    for one in run.variants:
        for place in one.places(run.factors):
            row, column = row_of[formats.level(place[0])], column_of[formats.level(place[1])]
            means[row][column] = one.compared["mean"]
            hover[row][column] = about(run, one, f"mean {formats.metric(one.compared['mean'])}")
    many = len(rows) * len(columns) > 400  # then there is no room for numbers in the fields
    figure = base(110 + (12 if many else 44) * len(rows))
    figure.add_trace(
        go.Heatmap(
            z=means,
            x=[escaped(formats.level(level)) for level in columns],
            y=[escaped(formats.level(level)) for level in rows],
            text=[["" if value is None else formats.metric(value) for value in row] for row in means],
            texttemplate=None if many else "%{text}",
            colorscale="Cividis",
            xgap=0 if many else 2,
            ygap=0 if many else 2,
            colorbar={"thickness": 12, "title": {"text": escaped(formats.metric_name(run.metric))}},
            hovertext=hover,
            hoverinfo="text",
        )
    )
    figure.update_xaxes(type="category", title_text=escaped(across), ticks="", showgrid=False)
    figure.update_yaxes(type="category", title_text=escaped(down), ticks="", showgrid=False, autorange="reversed")
    return figure


def levels(run: View, factor: str) -> list[Any]:
    """The levels of a factor, numbers in order."""
    places = [place for one in run.variants for (place,) in one.places([factor])]
    found = list({formats.level(level): level for level in places}.values())
    return sorted(found) if all(isinstance(level, int | float) for level in found) else found


def cost(run: View) -> go.Figure | None:
    """Seconds of every ended cell, a row a variant; None when no cell says what it took."""
    shown = [one for one in row_limits.shown(run, verdicts.ROWS_IN_FIGURE) if one.seconds is not None]
    if not shown:
        return None
    at = {one.name: index for index, one in enumerate(shown)}
    cells = [row for one in shown for row in one.rows if row.get("seconds") is not None]
    labels = [text(one.label) for one in shown]
    row = 14 + 15 * (max(label.count("<br>") for label in labels) + 1) if len(shown) <= 40 else 22
    figure = base(70 + row * len(shown))
    finished = [row["status"] == "finished" for row in cells]
    figure.add_trace(
        go.Scatter(
            x=[row["seconds"] for row in cells],
            y=[at[row["variant"]] for row in cells],
            mode="markers",
            marker={
                "color": [BLUE if done else VERMILLION for done in finished],
                "symbol": ["circle-open" if done else "x-thin-open" for done in finished],
                "size": 8,
                "line": {"width": 1.5},
            },
            hovertext=[f"seed {row['seed']}: {formats.seconds(row['seconds'])}, {row['status']}" for row in cells],
            hoverinfo="text",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[one.seconds for one in shown],
            y=list(range(len(shown))),
            mode="markers",
            marker={"color": BLUE, "symbol": "line-ns-open", "size": 16, "line": {"width": 3, "color": BLUE}},
            hovertext=[about(run, one, f"mean {formats.seconds(one.seconds)}") for one in shown],
            hoverinfo="text",
        )
    )
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=labels, range=[len(shown) - 0.5, -0.5], ticks="")
    figure.update_xaxes(title_text="seconds a cell", rangemode="tozero")
    return figure
