"""The section on mean ranks over five data sets or more, with a critical-difference diagram per column of a set."""

import html
import math
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures
from dashboards.html import Markup, embed, formats, section, tag
from dashboards.several_sets import places
from dashboards.several_sets.main_table import MainTable, main_table
from dashboards.several_sets.view import SetsView
from raysearch.studies.analysis import mean_ranks
from raysearch.studies.analysis.mean_ranks import MeanRanks

_ROW = 24  # pixels per label
_TALL_ROW = 34  # pixels per label of two lines
_BAR = 0.35  # rows between two bars
_BEYOND = 0.4  # ranks, of the axis beyond the first and the last
_LETTER = 8  # pixels, in labels
_LINE = 12  # letters of a name; two labels and the axis fit on a phone
_MOST_TICKS = 5  # side by side on a phone


def ranks_section(run: SetsView) -> Markup | None:
    """Return the section; None for a study with fewer data sets."""
    if len(run.on_set) < mean_ranks.FEWEST_SETS or run.is_provisional:
        return None
    table = main_table(run)
    parts: list[Any] = []
    for number, levels in enumerate(dict.fromkeys(levels for _, levels in table.columns)):
        title = f"{', '.join(run.study.within)} {places.levels_title(levels)}" if levels else ""
        ranked, note = rank_column(table, levels)
        if ranked is None:
            drawn = tag("p", note, class_="note")
        else:
            order = formats.listed([f"{name} {rank:.2f}" for name, rank in ranked.ranks.items()], most=30)
            caption = f"{_verdict(ranked)} {note}".strip()
            drawn = embed(draw(ranked), f"plot-ranks-{number}", caption, f"Mean ranks: {order}")
        parts.append(tag("div", tag("h3", title) if title else None, drawn))
    text = (
        "Methods are ranked on each data set by their mean over seeds; 1 is the best. A bar joins methods that "
        "Nemenyi's test does not tell apart at the 5 % level over all pairs. Ranks are about these data sets as a "
        "sample of all that might have been taken (Demšar, JMLR 2006). They do not replace the paired comparisons "
        "within each set."
    )
    return section("ranks", "Mean ranks", tag("p", text, class_="note"), tag("div", *parts, class_="grid wide"))


def rank_column(table: MainTable, levels: tuple[Any, ...]) -> tuple[MeanRanks | None, str]:
    """Return the mean ranks at some levels of the factors in `within`, and which sets or methods they leave out.

    Data sets without any result are left out, then methods without a result on one of the others. Without five data
    sets and three methods there are no ranks, and the text gives the reason.
    """
    run = table.run
    methods = [method for method in table.methods if not method.is_cited]
    means: dict[str, dict[str, float]] = {}
    for method in methods:
        for data_set in run.on_set:
            entry = method.entries.get((data_set, levels))
            if entry is not None and entry.variant is not None and not entry.hole:
                means.setdefault(method.name, {})[data_set] = entry.variant.compared["mean"]
    sets = [name for name in run.on_set if any(name in row for row in means.values())]
    whole = {name: [row[data_set] for data_set in sets] for name, row in means.items() if row.keys() >= {*sets}}
    if len(sets) < mean_ranks.FEWEST_SETS or len(whole) < mean_ranks.FEWEST_METHODS:
        reason = f"results of {formats.count(len(whole), 'method')} on {formats.count(len(sets), 'data set')}"
        return None, f"No mean ranks: {reason}, and they need {mean_ranks.FEWEST_METHODS} on {mean_ranks.FEWEST_SETS}."
    left_out = [name for name in run.on_set if name not in sets]
    left_out += [method.name for method in methods if method.name not in whole]
    note = f"Left out for holes: {formats.listed(left_out)}." if left_out else ""
    return mean_ranks.mean_ranks(whole, run.mode), note


def _verdict(ranked: MeanRanks) -> str:
    p = formats.p_value(ranked.p)
    if not ranked.differs:
        return f"Friedman's test finds no difference on {ranked.sets} data sets (p {p})."
    return f"Friedman's test on {ranked.sets} data sets: p {p}. Critical difference {ranked.critical_difference:.2f}."


def draw(ranked: MeanRanks) -> go.Figure:
    """Draw the diagram: ranks on an axis, the better half of the methods labeled left, the others right."""
    names = list(ranked.ranks)
    count = len(names)
    left = (count + 1) // 2
    groups = ranked.groups()
    first = 0.6 + _BAR * len(groups)  # rows from the axis to the first label
    deepest = first + left - 1
    labels = {name: figures.text(name, _LINE, most=2) for name in names}
    row = _ROW if all("<br>" not in label for label in labels.values()) else _TALL_ROW
    figure = figures.base(int(70 + row * (deepest + 1)))
    widest = 0
    for index, name in enumerate(names):
        rank = ranked.ranks[name]
        is_left = index < left
        depth = first + (index if is_left else count - 1 - index)
        edge = 1 - _BEYOND if is_left else count + _BEYOND
        figure.add_trace(
            go.Scatter(
                x=[rank, rank, edge], y=[0, depth, depth], mode="lines", hoverinfo="text", cliponaxis=False,
                line={"color": figures.GREY, "width": 1}, hovertext=f"{figures.escaped(name)}: {rank:.2f}",
            )
        )  # fmt: skip
        label = f"{labels[name]} {rank:.2f}" if is_left else f"{rank:.2f} {labels[name]}"
        widest = max(widest, *(len(html.unescape(line)) for line in label.split("<br>")))
        side = "right" if is_left else "left"
        figure.add_annotation(x=edge, y=depth, text=label, showarrow=False, xanchor=side, align=side)
    for index, group in enumerate(groups):
        depth = 0.3 + _BAR * index
        figure.add_trace(
            go.Scatter(
                x=[ranked.ranks[group[0]] - 0.04, ranked.ranks[group[-1]] + 0.04], y=[depth, depth], mode="lines",
                line={"color": figures.BLUE, "width": 5}, hoverinfo="text", cliponaxis=False,
                hovertext=figures.escaped(", ".join(group)),
            )
        )  # fmt: skip
    room = int(_LETTER * widest) + 8
    figure.update_layout(margin={"l": room, "r": room})
    figure.update_yaxes(range=[deepest + 0.6, -0.2], visible=False)
    ticks = list(range(1, count + 1, math.ceil(count / _MOST_TICKS)))
    figure.update_xaxes(range=[1 - _BEYOND, count + _BEYOND], side="top", tickvals=ticks, tickangle=0,
                        title_text="mean rank", showgrid=False)  # fmt: skip
    return figure
