"""The section on the looks of an adaptive study: when each variant was decided, and how its interval got there.

An early look may spend little of the 5 %, so its interval is wide. A figure shows the last interval in full and cuts
wider ones at its edge; the table has all numbers.
"""

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from dashboards.ablation import figures, row_limits
from dashboards.ablation.judging import rule_words
from dashboards.ablation.judging.judgement import Row, shown_verdict
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import Cell, Column, Section, Table, breakable_name, embed, formats, section, tag, verdicts

_MOST_FIGURES = 24
_HEIGHT = 190  # pixels
_PAD = 0.08  # of the range of a figure, beyond the last interval


def looks_section(run: View) -> Section | None:
    """Return the section; None for a study with fixed seeds."""
    if not run.study.looks:
        return None
    note = _figure_note(run)
    small = [
        tag(
            "div",
            tag("h3", breakable_name(variant.label)),
            embed(
                draw_path(run, variant),
                f"plot-look-{index}",
                None,
                _description(run, variant),
                f"Looks at {variant.label}",
                note,
            ),
        )
        for index, variant in enumerate(_drawn(run))
    ]
    return section(
        "looks",
        "Looks",
        tag("p", _summary(run), class_="note"),
        looks_table(run).to_html(),
        tag("p", note, class_="note") if small else None,
        tag("div", *small, class_="grid") if small else None,
    )


def looks_table(run: View) -> Table[Variant]:
    """Return the difference of every variant at every look, when it was decided, and its cells."""
    columns: list[Column[Variant]] = [Column("Variant", lambda variant: variant.label, "name")]
    for number, seeds in enumerate(run.study.looks, start=1):
        columns.append(Column(f"{seeds} seeds", _at_look(run, number)))
    columns += [
        Column("Decided", lambda variant: _decided(run, variant), "verdict"),
        Column("Cells", lambda variant: Cell(f"{len(variant.rows)}", sort_key=len(variant.rows))),
        Column("Saved", lambda variant: _saved(run, variant)),
    ]
    note = (
        "Differences from the reference at each look, with the interval of the look in brackets. "
        f"Levels of the intervals: {rule_words.levels_text(run.study)}. Saved: cells of the last look that are not "
        f"needed. {row_limits.note(run, verdicts.ROWS_IN_PAGE)}"
    )
    return Table(columns, row_limits.shown(run, verdicts.ROWS_IN_PAGE), note.strip())


def draw_path(run: View, variant: Variant) -> go.Figure:
    """Draw a variant's difference with its interval at each look that judged it; the axis has all planned looks."""
    figure = figures.base(_HEIGHT, margin={"l": 8, "r": 8, "t": 8, "b": 8})
    margin = run.study.margin
    if margin is not None:
        figure.add_hrect(y0=-margin, y1=margin, fillcolor="rgba(43,131,186,0.16)", line_width=0, layer="below")
    figure.add_hline(y=0, line={"color": figures.GREY, "width": 1})
    path = [row for row in run.judgement.paths[variant.name] if row["delta"] is not None]
    figure.add_trace(
        go.Scatter(
            x=[row["look"] for row in path], y=[row["delta"] for row in path], mode="lines", hoverinfo="skip",
            line={"color": figures.GREY, "width": 1},
        )
    )  # fmt: skip
    for verdict, (color, symbol) in figures.STYLES.items():
        members = [row for row in path if shown_verdict(row) == verdict]
        if members:
            figure.add_trace(_points(run, members, color, symbol))
    planned = run.study.looks
    figure.update_xaxes(
        tickvals=list(range(1, len(planned) + 1)), ticktext=list(map(str, planned)), title_text="seeds",
        range=[0.5, len(planned) + 0.5],
    )  # fmt: skip
    title = f"difference in {figures.escaped(formats.metric_name(run.metric))}"
    return figure.update_yaxes(title_text=title, tickformat="+", nticks=6, range=_range(path, margin or 0.0))


def _points(run: View, rows: list[Row], color: str, symbol: str) -> go.Scatter:
    return go.Scatter(
        x=[row["look"] for row in rows],
        y=[row["delta"] for row in rows],
        mode="markers",
        marker={"color": color, "symbol": symbol, "size": 11, "line": {"width": 2, "color": color}},
        error_y={
            "array": [0 if row["delta_high"] is None else row["delta_high"] - row["delta"] for row in rows],
            "arrayminus": [0 if row["delta_low"] is None else row["delta"] - row["delta_low"] for row in rows],
            "type": "data",
            "symmetric": False,
            "color": color,
            "thickness": 2,
            "width": 0,
        },
        hovertext=[f"{_look_with_seeds(run, row)}<br>{_numbers(row)}" for row in rows],
        hoverinfo="text",
    )


def _range(path: list[Row], margin: float) -> list[float]:
    """Return the range of a figure: zero, the margin, all means, and the last interval."""
    values = [0.0, margin, -margin, *(row["delta"] for row in path)]
    values += [row[bound] for row in path[-1:] for bound in ("delta_low", "delta_high") if row[bound] is not None]
    pad = _PAD * (max(values) - min(values)) or 1.0
    return [min(values) - pad, max(values) + pad]


def _drawn(run: View) -> list[Variant]:
    shown = [variant for variant in row_limits.shown(run, _MOST_FIGURES + 1) if not variant.is_reference]
    return [variant for variant in shown if run.judgement.paths[variant.name]][:_MOST_FIGURES]


def _summary(run: View) -> str:
    """Return the looks, how many were reached, and what they have saved."""
    planned = run.study.looks
    reached = run.reached_look
    sentences = [
        f"The study declared {rule_words.looks_text(run.study)} before its first cell.",
        "At each look only variants that are undecided, and their references, get more seeds.",
    ]
    if not run.judgement.open_names:
        sentences.append("It has ended.")
    elif reached == 0:
        sentences.append(f"The first look has not ended: {rule_words.unended(run)}.")
    else:
        sentences.append(f"Look {reached} of {len(planned)} is the last so far; the next has {planned[reached]} seeds.")
    whole = planned[-1] * len(run.variants)
    if run.cells_saved:
        share = f"{100 * run.cells_saved / whole:.0f} %"
        when = "so far" if run.judgement.open_names else "in all"
        sentences.append(f"{run.cells_saved:,} of {formats.count(whole, 'cell')} are saved {when} ({share}).")
    return " ".join(sentences)


def _figure_note(run: View) -> str:
    band = f" Band: the margin of {rule_words.margin_text(run.study)}." if run.study.margin is not None else ""
    omitted = sum(bool(path) for path in run.judgement.paths.values()) - 1 - len(_drawn(run))
    more = f" {formats.count(omitted, 'more variant')} in the table." if omitted > 0 else ""
    return (
        f"The path of each difference in {formats.metric_name(run.metric)} over the looks, with its interval. The "
        "marks are those of the plot of effects. A bar that reaches the edge goes on. Right of the last mark no cell "
        f"was needed, or none has ended yet. Each figure has its own scale.{band}{more}"
    )


def _description(run: View, variant: Variant) -> str:
    """Return the path in words, for people who do not see the figure."""
    steps = [f"{_look_with_seeds(run, row)}: {_numbers(row)}" for row in run.judgement.paths[variant.name]]
    return f"{variant.label}: {formats.listed(steps, most=12)}"


def _look_with_seeds(run: View, row: Row) -> str:
    return f"{rule_words.look_text(run, row['look'])}, {formats.count(row['seeds'], 'seed')}"


def _numbers(row: Row) -> str:
    bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
    verdict = verdicts.verdict_text(shown_verdict(row))
    return f"{formats.signed(row['delta'])} {bounds}".rstrip() + f", {verdict}"


def look_cell(rows: Sequence[Row], number: int) -> Cell:
    """Return a difference at a look with the interval of the look; empty if the look did not judge it.

    Args:
        rows: of one comparison, one for each look that judged it.
        number: of the look, from 1.
    """
    row = next((row for row in rows if row["look"] == number), None)
    if row is None or row["delta"] is None:
        return Cell("")
    bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
    return Cell(formats.signed(row["delta"]), bounds or row["refused"], row["delta"])


def _at_look(run: View, number: int) -> Callable[[Variant], Cell]:
    """Return the cell of a variant in the column of a look."""
    return lambda variant: look_cell(run.judgement.paths[variant.name], number)


def _decided(run: View, variant: Variant) -> Cell:
    if variant.is_reference:
        return Cell("")
    planned = run.study.looks
    look = variant.compared["look"]
    text = verdicts.verdict_text(variant.verdict)
    if variant.name in run.judgement.open_names:
        detail = f"next look: {planned[run.reached_look]} seeds"
    elif verdicts.is_significant(variant.verdict) or variant.verdict == verdicts.WITHIN:
        detail = f"look {look}, {planned[look - 1]} seeds"
    else:
        detail = "at the last look"
    return Cell(text, detail, verdict=variant.verdict)


def _saved(run: View, variant: Variant) -> Cell:
    saved = run.saved(variant)
    return Cell("" if saved is None else f"{saved:,}", sort_key=saved)
