"""The section on time and money: what the study cost, each variant's share, and cost against effect.

Machines are paid by the hour, and cells share them by seconds. The Pareto front joins the variants that no other beats
in both cost and effect.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import figures, row_limits
from dashboards.ablation.judging import rule_words
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import Markup, embed, formats, page_parts, section, tag, verdicts
from raysearch.runs import CostRecord, StudyRecord

FRONT = "front"  # name of the trace that joins the Pareto front


def cost_section(run: View) -> Markup | None:
    """Return the section on time and money; None if no cell recorded its seconds."""
    figure = figures.cost(run)
    if figure is None:
        return None
    caption = _caption(
        "Circles are finished cells, crosses are failed ones. The bar is the mean of the finished cells.", run
    )
    title = "Seconds per cell of each variant"
    return section(
        "cost",
        "Cost",
        spent(run.study, run.rows),
        embed(figure, "plot-cost", caption, f"{title}; the means are in the table of variants", title),
        *_tradeoff(run),
    )


def _tradeoff(run: View) -> list[Markup]:
    figure = draw_tradeoff(run)
    if figure is None:
        return []
    caption = _caption(
        f"Each variant's mean cost against its difference from the reference (blue, at zero), with "
        f"{rule_words.interval_words(run)}. The "
        "line joins the variants that no other beats in both. A step whose interval contains zero may not be real.",
        run,
    )
    title = "Cost of each variant against its difference from the reference"
    says = f"{title}; both are in the table of variants"
    return [tag("h3", "Cost against effect"), embed(figure, "plot-tradeoff", caption, says, title)]


def _caption(text: str, run: View) -> str:
    return " ".join(part for part in (text, run.times_note, row_limits.note(run, verdicts.ROWS_IN_FIGURE)) if part)


def spent(study: StudyRecord, cells: Sequence[Mapping[str, Any]]) -> Markup:
    """Return the time and money of all cells. A cell with several names counts once.

    Args:
        study: the record of the run.
        cells: rows of the ended cells.
    """
    distinct = list({row["cell"]: row for row in cells}.values())
    gpu = sum(row.get("gpu_seconds") or 0.0 for row in distinct)
    wall = study.wall_seconds
    adopted = study.adopted or 0
    facts = [("All cells together", formats.seconds(sum(row.get("seconds") or 0.0 for row in distinct)))]
    if gpu:
        facts.append(("On GPUs", formats.seconds(gpu)))
    if wall:
        facts.append(("Wall clock", formats.seconds(wall)))
        facts.append(("Cells per hour", f"{(len(distinct) - adopted) / wall * 3600:,.0f}"))
    facts += cost_facts(study.cost)
    if study.pre_trainings.cells:
        spent_before = formats.seconds(study.pre_trainings.seconds)
        facts.append(("Pre-trainings", f"{study.pre_trainings.cells:,}, {spent_before}"))
    retried = [row for row in distinct if (row.get("attempts") or 1) > 1]
    if retried:
        facts.append(("Needed more than one attempt", formats.count(len(retried), "cell")))
    return page_parts.facts_list(facts)


def cost_facts(cost: CostRecord) -> list[tuple[str, str]]:
    """Return (term, value) about the cost of a whole study; nothing if no machine has a price.

    >>> cost_facts(CostRecord(dollars=3.2, node_hours={"g6.2xlarge spot": 2.5}))
    [('Machines', '$3.20'), ('Machine hours', 'g6.2xlarge spot 2.5')]
    """
    if cost.dollars is None:
        return []
    hours = ", ".join(f"{machine} {value:.2g}" for machine, value in cost.node_hours.items())
    return [("Machines", dollars(cost.dollars)), *([("Machine hours", hours)] if hours else [])]


def cost_by_variant(run: View) -> dict[str, float]:
    """Return variant -> dollars; empty if no machine has a price. Idle time is shared among the variants too."""
    total = run.study.cost.dollars
    seconds = {variant.name: sum(row.get("seconds") or 0.0 for row in variant.rows) for variant in run.variants}
    all_seconds = sum(seconds.values())
    if total is None or not all_seconds:
        return {}
    return {name: total * share / all_seconds for name, share in seconds.items()}


def dollars(value: float) -> str:
    """Return an amount of money as text.

    >>> dollars(0.004), dollars(12.5), dollars(1234.0)
    ('$0.004', '$12.50', '$1,234')
    """
    if 0 < value < 0.1:
        return f"${value:.1g}"
    return f"${value:,.2f}" if value < 1000 else f"${value:,.0f}"


def cell_cost(run: View, variant: Variant) -> float | None:
    """Return the mean seconds of a finished cell, GPU-seconds if the run had GPUs; on one kind of device."""
    if not any(row.get("gpu_seconds") for row in run.rows):
        return variant.seconds
    seconds = [row["gpu_seconds"] for row in variant.timed if row.get("gpu_seconds") is not None]
    return sum(seconds) / len(seconds) if seconds else None


def gain(variant: Variant) -> float | None:
    """Return the mean paired difference from the reference; 0 for the reference itself."""
    return 0.0 if variant.is_reference and variant.values else variant.compared["delta"]


def front(points: list[tuple[float, float]], mode: str) -> list[int]:
    """Return the positions of the points (cost, gain) on the Pareto front, the cheapest first.

    >>> front([(1.0, 0.0), (2.0, 0.1), (3.0, 0.05), (1.0, -0.1)], "max")
    [0, 1]
    """
    sign = 1 if mode == "max" else -1
    best: list[int] = []
    for index in sorted(range(len(points)), key=lambda at: (points[at][0], -sign * points[at][1])):
        if not best or sign * points[index][1] > sign * points[best[-1]][1]:
            best.append(index)
    return best


def draw_tradeoff(run: View) -> go.Figure | None:
    """Draw seconds per cell against the difference from the reference; None with fewer than two points."""
    shown = row_limits.shown(run, verdicts.ROWS_IN_FIGURE)
    placed = [
        (variant, x, y)
        for variant in shown
        if (x := cell_cost(run, variant)) is not None and (y := gain(variant)) is not None
    ]
    if len(placed) < 2:
        return None
    figure = figures.base(400)
    figure.add_hline(y=0, line={"color": figures.GREY, "width": 1, "dash": "dot"})
    best = [placed[index] for index in front([(x, y) for _, x, y in placed], run.mode)]
    figure.add_trace(
        go.Scatter(
            name=FRONT, x=[x for _, x, _ in best], y=[y for _, _, y in best], mode="lines", hoverinfo="skip",
            line={"color": figures.BLUE, "width": 1.5},
        )
    )  # fmt: skip
    for name, (colour, symbol) in figures.STYLES.items():
        members = [point for point in placed if point[0].verdict == name]
        if members:
            figure.add_trace(_points(run, members, colour, symbol))
    gpu = "GPU-seconds" if any(row.get("gpu_seconds") for row in run.rows) else "seconds"
    figure.update_xaxes(title_text=f"mean {gpu} per cell", nticks=8)
    metric = figures.escaped(formats.metric_name(run.metric))
    figure.update_yaxes(title_text=f"difference in {metric}", tickformat="+", nticks=7)
    return figure


def _points(run: View, members: list[tuple[Variant, float, float]], colour: str, symbol: str) -> go.Scatter:
    bounds = [(variant.compared["delta_low"], y, variant.compared["delta_high"]) for variant, _, y in members]
    return go.Scatter(
        x=[x for _, x, _ in members],
        y=[y for _, _, y in members],
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 11, "line": {"width": 2, "color": colour}},
        error_y={
            "array": [0 if high is None else high - y for _, y, high in bounds],
            "arrayminus": [0 if low is None else y - low for low, y, _ in bounds],
            "type": "data",
            "symmetric": False,
            "color": colour,
            "thickness": 1.5,
            "width": 0,
        },
        hovertext=[
            figures.about(
                run,
                variant,
                verdicts.verdict_text(variant.verdict),
                f"{formats.signed(y)} at {formats.seconds(x)} per cell",
            )
            for variant, x, y in members
        ],
        hoverinfo="text",
        cliponaxis=False,
    )
