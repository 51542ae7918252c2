"""The sections on effects, ties, episodes and learning curves, and the list of failures.

Short codes leave many items at the same Hamming distance, and no method earns their order. McSherry and Najork,
"Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008, take the
expectation. A difference smaller than the bracket between the worst and the best order may come from ties alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from dashboards.ablation import effects as plots
from dashboards.ablation import figures, learning_curves, row_limits
from dashboards.ablation.judging import rule_words
from dashboards.ablation.tables import verdict
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import Markup, breakable_name, embed, formats, number_cell, section, table_element, tag, verdicts
from dashboards.run_data import mean
from raysearch.studies.analysis import paired_episodes

_MAX_ERRORS = 50  # rows of the table of failures
_EXPECTED = "map"
_INDEX = "map_index"
_WORST = "map_worst_ties"
_BEST = "map_best_ties"
_EPISODES_NOTE = (
    "The same trained networks on the same episodes: differences from the reference, paired by episode, with 95 % "
    "intervals over episodes. They describe these networks on other episodes, not networks that are trained again."
)


def effects(run: View) -> Markup | None:
    """Return the plot of effects; None if there is nothing to compare."""
    figure = plots.effects(run)
    if figure is None:
        return None
    caption = (
        f"Each variant's difference from the reference with its {_interval(run)}: the mean over the seeds that both "
        f"finished. {_marks(run)}. "
        "Small dots: the difference of each seed, at the same height in every row. A seed that failed in either "
        "has no dot."
    )
    if any(variant.verdict == "no interval" for variant in run.variants):
        caption += f" \N{WHITE DIAMOND} no interval ({'; '.join(run.refusals)})."
    caption = f"{caption} {row_limits.note(run, verdicts.ROWS_IN_FIGURE)}".strip()
    shown = [variant for variant in row_limits.shown(run, verdicts.ROWS_IN_FIGURE) if not variant.is_reference]
    drawn = formats.listed([f"{variant.label} {verdict(variant)}" for variant in shown], most=20)
    title = "Differences from the reference"
    return section("effects", "Effects", embed(figure, "plot-effects", caption, f"Plot of effects: {drawn}", title))


def _interval(run: View) -> str:
    return "interval, which holds at all looks together" if run.study.looks else "95 % interval"


def _marks(run: View) -> str:
    """Return what the marks of the plot mean."""
    if run.is_provisional:
        return "Open triangles: better or worse so far, \N{WHITE CIRCLE} undecided"
    marks = [verdicts.verdict_text("better"), verdicts.verdict_text("worse")]
    if run.study.margin is not None:
        marks.append(f"\N{BLACK CIRCLE} within {rule_words.margin_text(run.study)}")
    return f"{', '.join(marks)}, \N{WHITE CIRCLE} undecided"


def tie_order(run: View) -> Markup | None:
    """Return the section on tie-breaking; None if the run records no orders."""
    figure = draw_brackets(run)
    if figure is None:
        return None
    caption = (
        "Bar: from the worst to the best order of items at equal Hamming distance. Square: the expected value over all "
        "orders, which the report compares. Cross: the order in which items are stored. Means over seeds. "
        "A difference smaller than a bar may come from tie-breaking alone. "
    )
    caption = f"{caption}{row_limits.note(run, verdicts.ROWS_IN_FIGURE)}".strip()
    title = "mAP of each variant by the order of tied items"
    says = f"{title}; the means are under Other metrics in the section Variants"
    return section("ties", "Tie-breaking", embed(figure, "plot-ties", caption, says, title))


def learned(run: View) -> Markup | None:
    """Return the learning curves; None if no variant has any."""
    keys = learning_curves.panels(run)
    if not keys:
        return None
    ranges = learning_curves.common_ranges(run, keys)
    shown = learning_curves.shown(run)
    note = "Line: mean over seeds. Band: lowest to highest seed. Dashed gray: the reference. The scales are the same."
    histories = [steps for variant in shown for steps in run.histories[variant.name]]
    if any(step.get("phase") == "warmup" for steps in histories for step in steps):
        note += " Left of the dotted line: warm-up."
    small = [
        tag(
            "div",
            tag("h3", breakable_name(variant.label)),
            embed(
                learning_curves.figure(run, variant, keys, ranges),
                f"plot-learning-{index}",
                None,
                f"Learning curve of {variant.label}",
                note=note,
            ),
        )
        for index, variant in enumerate(shown)
    ]
    if len(shown) < len(run.histories):
        note += f" The figures show the {len(shown)} of {len(run.histories)} variants with the largest differences."
    return section("learning", "Learning curves", tag("p", note, class_="note"), tag("div", *small, class_="grid"))


def same_episodes(run: View) -> Markup | None:
    """Return the table of differences; None for a study without episodes."""
    compared = paired_episodes.compare(run.rows, run.study.references or run.reference.name)
    row_of = {row["variant"]: row for row in compared.to_pylist()}
    if not row_of:
        return None
    body = []
    for variant in row_limits.shown(run, verdicts.ROWS_IN_PAGE):
        if variant.name in row_of:
            row = row_of[variant.name]
            bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
            cells = [number_cell(formats.signed(row["delta"]), bounds, row["delta"])]
            cells += [
                number_cell(f"{row['episodes']:,}", by=row["episodes"]),
                number_cell(str(row["seeds"]), by=row["seeds"]),
            ]
            body.append([breakable_name(variant.label), *cells])
    unit = "test items" if run.study.imported else "episodes"
    note = _EPISODES_NOTE.replace("episodes", unit).replace("episode", "item")
    heading = unit[:1].upper() + unit[1:]
    table = table_element(["Variant", "Difference", heading, "Seeds"], body, tag("span", note))
    return section("episodes", f"On the same {unit}", table)


def failures(run: View) -> Markup | None:
    """Return the cells without a result, grouped by error."""
    holes = [row for row in run.rows if row["status"] != "finished"]
    note = "No mean contains these cells. The rows of their variants count them."
    return without_result(holes, {variant.name: variant.label for variant in run.variants}, note)


def without_result(cells: Sequence[Mapping[str, Any]], labels: Mapping[str, str], note: str) -> Markup | None:
    """Return the table of cells without a result; None if there are none.

    Args:
        cells: rows of these cells.
        labels: variant -> its label.
        note: the consequence, as the table's caption.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in cells:
        groups.setdefault((row["status"], (row.get("error") or "no error recorded").strip()), []).append(row)
    if not groups:
        return None
    body = []
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))[:_MAX_ERRORS]
    for (status, error), members in largest:
        seeds: dict[str, list[int]] = {}
        for row in members:
            seeds.setdefault(labels.get(row["variant"], row["variant"]), []).append(row["seed"])
        places = [f"{name}: seed {formats.seeds(numbers)}" for name, numbers in seeds.items()]
        cells_text = tag("td", formats.listed(places, most=10).replace(" and ", "; "))
        body.append(
            [f"{formats.count(len(members), 'cell')} {status}", cells_text, tag("td", _error(error), class_="wide")]
        )
    if len(groups) > len(largest):
        note += f" The {len(largest)} most common of {len(groups):,} errors; results.parquet holds all."
    return section("failures", "Cells without a result", table_element(["Cells", "Where", "Error"], body, note))


def _error(error: str) -> Markup:
    lines = error.splitlines()
    if len(lines) < 2 and len(error) < 300:
        return tag("span", error)
    last = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return tag("details", tag("summary", last[:300]), tag("pre", error))


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


def draw_brackets(run: View) -> go.Figure | None:
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
