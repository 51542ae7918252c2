"""The house style of the figures, the plot of effects, the heat map of two factors and the plot of cost.

Colours are Okabe and Ito's, which people with any colour vision tell apart, and never speak alone: shapes say the same.
Texts, grids and backgrounds are left to the page's style sheet, which knows light, dark and print.
"""

import html
import textwrap
from typing import Any

import plotly.graph_objects as go

from dashboards import formats, selection
from dashboards.tables import verdict
from dashboards.view import Variant, View

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


def text(words: str, width: int = 22) -> str:
    """Text for plotly, which reads a little HTML: escaped, broken to fit beside an axis on a phone, and cut when long.

    Plotly knows few entities, and `&quot;` is none of them; without a `<` no quote can end anything.
    """
    lines: list[str] = []
    for part in words.replace(" (", "\n(").replace(", ", ",\n").split("\n") if len(words) > width else [words]:
        if lines and len(lines[-1]) + len(part) < width:
            lines[-1] += f" {part}"
        else:
            lines += textwrap.wrap(part, width) or [""]
    if len(lines) > _MOST_LINES:  # every row of a figure is as high as its highest label
        lines = [*lines[: _MOST_LINES - 1], f"{lines[_MOST_LINES - 1]}\N{HORIZONTAL ELLIPSIS}"]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def panel(figure: go.Figure, name: str, domain: tuple[float, float], words: str) -> None:
    """Give a y axis (`y`, `y2`) its share of the height and its title above it, where it takes no width."""
    style = figure.layout.yaxis.to_plotly_json() | {"domain": list(domain), "anchor": "x", "nticks": 5}
    figure.update_layout({f"yaxis{name[1:]}": style})
    figure.add_annotation(
        text=html.escape(words), xref="paper", x=0, xanchor="left", yref="paper", y=domain[1], yanchor="bottom",
        showarrow=False, font={"size": 12}, yshift=3,
    )  # fmt: skip


def effects(run: View) -> go.Figure | None:
    """Paired differences from the reference with their intervals; None when there is nothing to compare."""
    shown = [one for one in selection.shown(run, selection.IN_FIGURE) if not one.is_reference]
    if not shown:
        return None
    labels = [text(one.label) for one in shown]
    lines = max(label.count("<br>") for label in labels) + 1
    row = 20 + 16 * lines if len(shown) <= 40 else 22
    figure = base(70 + row * len(shown))
    figure.add_vline(x=0, line={"color": GREY, "width": 1.5})
    # the words of a hole stand beside zero, on the side where the plot has room
    side = "middle left" if sum(one.compared["delta"] or 0.0 for one in shown) < 0 else "middle right"
    for name, (colour, symbol) in STYLES.items():
        at = [index for index, one in enumerate(shown) if one.verdict == name]
        if at:
            figure.add_trace(_effect_trace([shown[index] for index in at], at, colour, symbol, side))
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=labels, range=[len(shown) - 0.5, -0.5], ticks="")
    metric = html.escape(formats.metric_name(run.metric))
    figure.update_xaxes(title_text=f"difference in {metric}<br>from the reference", tickformat="+")
    return figure


def _effect_trace(members: list[Variant], at: list[int], colour: str, symbol: str, side: str) -> go.Scatter:
    rows = [one.compared for one in members]
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
        hovertext=[_hover(one) for one in members],
        hoverinfo="text",
    )


def _hover(one: Variant) -> str:
    row = one.compared
    words = [f"<b>{text(one.label, 40)}</b>", verdict(one)]
    if row["delta"] is not None:
        bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
        words.append(f"{formats.signed(row['delta'])} {bounds}")
        words.append(f"p (Holm) {formats.p_value(row['p_holm'])}, {formats.count(row['seeds'], 'seed')}")
    return "<br>".join(words)


def heat_map(run: View) -> go.Figure | None:
    """Means over two crossed factors; None for another design."""
    if run.study.get("design") != "full" or len(run.factors) != 2:
        return None
    down, across = run.factors
    rows, columns = (_levels(run, factor) for factor in (down, across))
    means: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    row_of, column_of = ({formats.level(level): at for at, level in enumerate(levels)} for levels in (rows, columns))
    for one in run.variants:
        row, column = row_of[formats.level(one.level(down))], column_of[formats.level(one.level(across))]
        means[row][column] = one.compared["mean"]
    many = len(rows) * len(columns) > 400  # then there is no room for numbers in the fields
    figure = base(110 + (12 if many else 44) * len(rows))
    figure.add_trace(
        go.Heatmap(
            z=means,
            x=[html.escape(formats.level(level)) for level in columns],
            y=[html.escape(formats.level(level)) for level in rows],
            text=[["" if value is None else formats.metric(value) for value in row] for row in means],
            texttemplate=None if many else "%{text}",
            colorscale="Cividis",
            xgap=0 if many else 2,
            ygap=0 if many else 2,
            colorbar={"thickness": 12, "title": {"text": html.escape(formats.metric_name(run.metric))}},
            hovertemplate=f"{html.escape(down)} %{{y}}, {html.escape(across)} %{{x}}: %{{text}}<extra></extra>",
        )
    )
    figure.update_xaxes(type="category", title_text=html.escape(across), ticks="", showgrid=False)
    figure.update_yaxes(type="category", title_text=html.escape(down), ticks="", showgrid=False, autorange="reversed")
    return figure


def _levels(run: View, factor: str) -> list[Any]:
    """The levels of a factor, numbers in order."""
    found = list({formats.level(level): level for level in (one.level(factor) for one in run.variants)}.values())
    return sorted(found) if all(isinstance(level, int | float) for level in found) else found


def cost(run: View) -> go.Figure | None:
    """Seconds of every ended cell, a row a variant; None when no cell says what it took."""
    shown = [one for one in selection.shown(run, selection.IN_FIGURE) if one.seconds is not None]
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
            hovertext=[f"mean {formats.seconds(one.seconds)}" for one in shown],
            hoverinfo="text",
        )
    )
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=labels, range=[len(shown) - 0.5, -0.5], ticks="")
    figure.update_xaxes(title_text="seconds a cell", rangemode="tozero")
    return figure
