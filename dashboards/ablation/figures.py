"""The style of all figures, the hover text of a variant, the heat map of two factors and the plot of cost.

Colors are those of Okabe and Ito, which people with any color vision can tell apart. A shape always repeats a color's
meaning. The page's style sheet sets texts, grids and backgrounds, for light, dark and print.
"""

import html
import textwrap
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import config_diff, row_limits
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import formats, verdicts

BLUE = "#2b83ba"
VERMILLION = "#d55e00"
GREEN = "#009e73"
GREY = "#808890"
MANY_ROWS = 40  # of a figure; more are drawn closer together
_MAX_LINES = 6  # of a label
STYLES = {  # verdict -> color and plotly's symbol
    "better": (GREEN, "triangle-up"),
    "worse": (VERMILLION, "triangle-down"),
    "better so far": (GREY, "triangle-up-open"),
    "worse so far": (GREY, "triangle-down-open"),
    verdicts.WITHIN: (BLUE, "circle"),
    "undecided": (GREY, "circle-open"),
    "no interval": (GREY, "diamond-open"),
    "no result": (GREY, "x-thin-open"),
    "reference": (BLUE, "square"),
}
_MAX_CHANGES = 6  # lines that a reader takes in while pointing


def base(height: int, **layout: Any) -> go.Figure:
    """Return an empty figure in the common style.

    Args:
        height: in pixels.
        layout: plotly's layout settings, on top of the style.
    """
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


def escaped(label: str) -> str:
    """Return text for plotly, which reads some HTML and few entities: `&quot;` is not one of them.

    >>> escaped('<b> & "c"')
    '&lt;b&gt; &amp; "c"'
    """
    return html.escape(label, quote=False)  # without a `<` no quote can end anything


def text(label: str, width: int = 22, most: int = _MAX_LINES) -> str:
    """Return text for plotly: escaped, broken to fit beside an axis on a phone, and cut if long.

    Args:
        label: plain text.
        width: of a line, in characters.
        most: number of lines.
    """
    lines: list[str] = []
    for part in label.replace(" (", "\n(").replace(", ", ",\n").split("\n") if len(label) > width else [label]:
        if lines and len(lines[-1]) + len(part) < width:
            lines[-1] += f" {part}"
        else:
            lines += textwrap.wrap(part, width) or [""]
    if len(lines) > most:  # every row of a figure is as high as its highest label
        lines = [*lines[: most - 1], f"{lines[most - 1]}\N{HORIZONTAL ELLIPSIS}"]
    return "<br>".join(escaped(line) for line in lines)


def row_labels(variants: Sequence[Variant]) -> tuple[list[str], int]:
    """Return the labels of the rows of a figure, and the lines of the highest. Many rows have at most two lines each.

    Args:
        variants: the variants of the rows.
    """
    most = _MAX_LINES if len(variants) <= MANY_ROWS else 2
    labels = [text(variant.label, most=most) for variant in variants]
    return labels, max(label.count("<br>") for label in labels) + 1


def panel(figure: go.Figure, name: str, domain: tuple[float, float], title: str) -> None:
    """Give a y axis (`y`, `y2`) its share of the height and its title above it, where it takes no width."""
    style = figure.layout.yaxis.to_plotly_json() | {"domain": list(domain), "anchor": "x", "nticks": 5}
    figure.update_layout({f"yaxis{name[1:]}": style})
    figure.add_annotation(
        text=escaped(title), xref="paper", x=0, xanchor="left", yref="paper", y=domain[1], yanchor="bottom",
        showarrow=False, font={"size": 12}, yshift=3,
    )  # fmt: skip


def about(run: View, variant: Variant, *numbers: str) -> str:
    """Return the hover text of a variant: its name, these numbers, and the changes in its config.

    Args:
        run: the variant's run.
        variant: the variant.
        numbers: escaped texts of what is drawn.
    """
    changed = config_diff.changes_from_reference(run, variant)
    shown = changed[:_MAX_CHANGES]
    changes = [text(f"{path}: {before} \N{RIGHTWARDS ARROW} {after}", 44) for path, before, after in shown]
    if changed[_MAX_CHANGES:]:
        changes.append(f"and {len(changed) - _MAX_CHANGES} more settings")
    return "<br>".join([f"<b>{text(variant.label, 40)}</b>", *(number for number in numbers if number), *changes])


def heat_map(run: View) -> go.Figure | None:
    """Draw the means over two crossed factors; None for another design."""
    if run.study.design != "full" or len(run.factors) != 2:
        return None
    down, across = run.factors
    rows, columns = (levels(run, factor) for factor in (down, across))
    means: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    hover = [[""] * len(columns) for _ in rows]
    row_of = {formats.level(level): index for index, level in enumerate(rows)}
    column_of = {formats.level(level): index for index, level in enumerate(columns)}
    for variant in run.variants:
        for place in variant.places(run.factors):
            row = row_of[formats.level(place[0])]
            column = column_of[formats.level(place[1])]
            means[row][column] = variant.compared["mean"]
            hover[row][column] = about(run, variant, f"mean {formats.metric(variant.compared['mean'])}")
    crowded = len(rows) * len(columns) > 400  # there is no room for numbers in the fields
    figure = base(110 + (12 if crowded else 44) * len(rows))
    figure.add_trace(
        go.Heatmap(
            z=means,
            x=[escaped(formats.level(level)) for level in columns],
            y=[escaped(formats.level(level)) for level in rows],
            text=[["" if value is None else formats.metric(value) for value in row] for row in means],
            texttemplate=None if crowded else "%{text}",
            colorscale="Cividis",
            xgap=0 if crowded else 2,
            ygap=0 if crowded else 2,
            colorbar={"thickness": 12, "title": {"text": escaped(formats.metric_name(run.metric))}},
            hovertext=hover,
            hoverinfo="text",
        )
    )
    figure.update_xaxes(type="category", title_text=escaped(across), ticks="", showgrid=False)
    figure.update_yaxes(type="category", title_text=escaped(down), ticks="", showgrid=False, autorange="reversed")
    return figure


def levels(run: View, factor: str) -> list[Any]:
    """Return the levels of a factor, numbers in order."""
    places = [place for variant in run.variants for (place,) in variant.places([factor])]
    distinct = list({formats.level(level): level for level in places}.values())
    return sorted(distinct) if all(isinstance(level, int | float) for level in distinct) else distinct


def cost(run: View) -> go.Figure | None:
    """Draw the seconds of every ended cell, one row per variant; None if no cell recorded them."""
    shown = [variant for variant in row_limits.shown(run, verdicts.ROWS_IN_FIGURE) if variant.seconds is not None]
    if not shown:
        return None
    row_of = {variant.name: index for index, variant in enumerate(shown)}
    cells = [row for variant in shown for row in variant.rows if row.get("seconds") is not None]
    labels, lines = row_labels(shown)
    row = (14 if len(shown) <= MANY_ROWS else 7) + 15 * lines
    figure = base(70 + row * len(shown))
    finished = [row["status"] == "finished" for row in cells]
    figure.add_trace(
        go.Scatter(
            x=[row["seconds"] for row in cells],
            y=[row_of[row["variant"]] for row in cells],
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
            x=[variant.seconds for variant in shown],
            y=list(range(len(shown))),
            mode="markers",
            marker={"color": BLUE, "symbol": "line-ns-open", "size": 16, "line": {"width": 3, "color": BLUE}},
            hovertext=[about(run, variant, f"mean {formats.seconds(variant.seconds)}") for variant in shown],
            hoverinfo="text",
        )
    )
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=labels, range=[len(shown) - 0.5, -0.5], ticks="")
    figure.update_xaxes(title_text="seconds per cell", rangemode="tozero")
    return figure
