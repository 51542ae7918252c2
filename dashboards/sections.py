"""The parts of the page that say what came out: variants, effects, factors, learning, cost, failures."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import plotly.io

from dashboards import curves, figures, formats, learning, selection
from dashboards.markup import Markup, data_block, join, name, rows, tag
from dashboards.tables import MARKS, verdict
from dashboards.view import Variant, View, levels, loads, mapping, mean

_MOST_ERRORS = 50  # rows of the table of failures


def embed(figure: go.Figure, key: str, caption: Any, says: str) -> Markup:
    """A figure with its caption; `says` is read to people who do not see it."""
    height = int(figure.layout.height)
    return tag(
        "figure",
        tag("div", id=key, role="img", aria_label=says, class_="plot", style=f"height:{height}px"),
        data_block(key, plotly.io.to_json(figure, validate=False)),
        tag("figcaption", caption),
    )


def variants(run: View) -> Markup:
    """The table of variants."""
    erased = any(one.erased is not None for one in selection.shown(run, selection.IN_PAGE))
    published = run.published is not None
    header: list[Any] = [
        "Variant",
        f"{formats.metric_name(run.metric)}, mean",
        "Difference",
        "p (Holm)",
        "Verdict",
        "Seeds",
    ]
    header += ["Time a cell"] + ["Erased"] * erased + ["Published"] * published
    body = []
    for one in selection.shown(run, selection.IN_PAGE):
        row = one.compared
        cells: list[Any] = [_name(run, one)]
        cells += [number(formats.metric(row["mean"]), formats.interval(row["ci_low"], row["ci_high"]))]
        bounds = formats.interval(row["delta_low"], row["delta_high"], sign=True)
        cells += [number(formats.signed(row["delta"]) if row["delta"] is not None else "", bounds)]
        cells += [number(formats.p_value(row["p_holm"]) if row["p_holm"] is not None else "")]
        cells += [tag("td", tag("span", verdict(one), class_=f"verdict {one.verdict.replace(' ', '-')}"))]
        cells += [_seeds(one), number(formats.seconds(one.seconds))]
        if erased:
            cells.append(number("" if one.erased is None else f"{100 * one.erased:.1f} %"))
        if published:
            value, table = one.published or (None, "")
            cells.append(number(formats.metric(value) if value is not None else "", f"table {table}" if table else ""))
        body.append(cells)
    note = "In brackets: 95 % intervals. Differences are paired by seed and taken from the reference. "
    note = f"{note}{selection.note(run, selection.IN_PAGE)}".strip()
    return section(
        "variants", "Variants", rows(header, body, note), _published_note(run), _cited(run), _other_metrics(run)
    )


def effects(run: View) -> Markup | None:
    figure = figures.effects(run)
    if figure is None:
        return None
    caption = (
        "Each variant's difference from the reference, averaged over the seeds that both finished, with its 95 % "
        f"interval. {MARKS['better']} decided better, {MARKS['worse']} decided worse, \N{WHITE CIRCLE} undecided."
    )
    if any(one.verdict == "no interval" for one in run.variants):
        caption += " \N{WHITE DIAMOND} fewer than two seeds in common: no interval."
    caption = f"{caption} {selection.note(run, selection.IN_FIGURE)}".strip()
    shown = [one for one in selection.shown(run, selection.IN_FIGURE) if not one.is_reference]
    drawn = formats.listed([f"{one.label} {verdict(one)}" for one in shown], most=20)
    return section("effects", "Effects", embed(figure, "plot-effects", caption, f"Plot of effects: {drawn}"))


def factors(run: View) -> Markup | None:
    """A curve for each numeric factor, and the heat map where two were crossed."""
    parts: list[Any] = []
    for index, factor in enumerate(curves.numeric_factors(run)):
        figure = curves.curve(run, factor)
        caption = "Grey: a line a seed. Blue: the mean with its 95 % interval; the larger square is the reference."
        if "yaxis2" in figure.layout.to_plotly_json() and run.published:
            caption += f" Dashed: {run.published.paper}, under its own protocol and on its own scale."
        chance = run.study.get("chance")
        if isinstance(chance, int | float):
            caption += f" Chance alone would score {formats.metric(chance)}."
        says = f"{formats.metric_name(run.metric)} over {factor}; the numbers stand in the table of variants"
        parts += [tag("h3", tag("code", factor)), embed(figure, f"plot-factor-{index}", caption, says)]
    heat = figures.heat_map(run)
    if heat:
        caption = (
            "Mean over seeds. An empty field has no finished cell, or its config is the same as another field's "
            "and was run there."
        )
        parts += [tag("h3", "Both factors"), embed(heat, "plot-heat", caption, "Means over both factors")]
    return section("factors", "Factors", *parts) if parts else None


def learned(run: View) -> Markup | None:
    keys = learning.panels(run)
    if not keys:
        return None
    ranges = learning.common_ranges(run, keys)
    shown = learning.shown(run)
    small = [
        tag(
            "div",
            tag("h3", name(one.label)),
            embed(
                learning.figure(run, one, keys, ranges),
                f"plot-learning-{index}",
                None,
                f"Learning curve of {one.label}",
            ),
        )
        for index, one in enumerate(shown)
    ]
    note = "Line: mean over seeds; band: lowest to highest seed; dashed grey: the reference. All on the same scales."
    if any(step.get("phase") == "warmup" for one in shown for steps in run.histories[one.name] for step in steps):
        note += " Left of the dotted line: warm-up."
    if len(shown) < len(run.histories):
        note += f" The {len(shown)} with the largest differences of {len(run.histories)} variants are drawn."
    return section("learning", "Learning curves", tag("p", note, class_="note"), tag("div", *small, class_="grid"))


def cost(run: View) -> Markup | None:
    figure = figures.cost(run)
    if figure is None:
        return None
    caption = "A circle a finished cell, a cross a failed one; the bar is the mean of the finished. "
    caption = f"{caption}{selection.note(run, selection.IN_FIGURE)}".strip()
    return section(
        "cost",
        "Cost",
        spent(run.study, run.rows),
        embed(figure, "plot-cost", caption, "Seconds a cell of each variant; the means stand in the table of variants"),
    )


def spent(study: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> Markup:
    """What all cells took together; a cell that stands under several names counts once."""
    own = list({row["cell"]: row for row in cells}.values())
    gpu = sum(row.get("gpu_seconds") or 0.0 for row in own)
    wall, adopted = study.get("wall_seconds"), study.get("adopted") or 0
    facts = [("All cells together", formats.seconds(sum(row.get("seconds") or 0.0 for row in own)))]
    if gpu:
        facts.append(("On GPUs", formats.seconds(gpu)))
    if wall:
        facts.append(("Wall clock", formats.seconds(wall)))
        facts.append(("Cells an hour", f"{(len(own) - adopted) / wall * 3600:,.0f}"))
    before = study.get("pre_trainings") or {}
    if before.get("cells"):
        facts.append(("Pre-trainings", f"{before['cells']:,}, {formats.seconds(before['seconds'])}"))
    retried = [row for row in own if (row.get("attempts") or 1) > 1]
    if retried:
        facts.append(("Needed more than one attempt", formats.count(len(retried), "cell")))
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", fact)) for name, fact in facts), class_="facts")


def failures(run: View) -> Markup | None:
    """Cells without a result, those with one error together."""
    holes = [row for row in run.rows if row["status"] != "finished"]
    note = "These cells count in no mean; their variants' rows say so."
    return without_result(holes, {one.name: one.label for one in run.variants}, note)


def without_result(cells: Sequence[Mapping[str, Any]], labels: Mapping[str, str], note: str) -> Markup | None:
    """The table of cells without a result; None without any.

    Args:
        cells: their rows.
        labels: variant -> what it is called.
        note: what follows from them.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in cells:
        groups.setdefault((row["status"], (row.get("error") or "no error recorded").strip()), []).append(row)
    if not groups:
        return None
    body = []
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))[:_MOST_ERRORS]
    for (status, error), members in largest:
        seeds: dict[str, list[int]] = {}
        for row in members:
            seeds.setdefault(labels.get(row["variant"], row["variant"]), []).append(row["seed"])
        places = [f"{name}: seed {formats.seeds(numbers)}" for name, numbers in seeds.items()]
        where = tag("td", formats.listed(places, most=10).replace(" and ", "; "))
        body.append([f"{formats.count(len(members), 'cell')} {status}", where, tag("td", _error(error), class_="wide")])
    if len(groups) > len(largest):
        note += f" The {len(largest)} most common of {len(groups):,} errors; all stand in results.parquet."
    return section("failures", "Cells without a result", rows(["Cells", "Where", "Error"], body, note))


def section(key: str, title: str, *parts: Any) -> Markup:
    """A part of the page under its heading."""
    return tag("section", tag("h2", title), *parts, id=key)


def _name(run: View, one: Variant) -> Markup:
    detail = levels(one) if one.is_reference and run.study.get("design") != "leave_one_out" else ""
    return join(name(one.label), tag("small", name(formats.joined(detail, ",\n"))) if detail else None)


def number(value: str, under: str = "") -> Markup:
    """A table's cell that holds a number, with what stands small below it."""
    return tag("td", value, tag("small", under) if under else None, class_="number")


def _seeds(one: Variant) -> Markup:
    row = one.compared
    kinds = {"failed": row["failed"], "stopped": row["stopped"], "not run": one.missing}
    holes = [tag("small", f"{number} {kind}", class_="hole") for kind, number in kinds.items() if number]
    return tag("td", f"{row['seeds']} of {one.planned}" if holes else str(row["seeds"]), *holes, class_="number")


def _published_note(run: View) -> Markup | None:
    if run.published is None:
        return None
    source = run.published.source
    words = [f"Published: {run.published.paper}."]
    words += [f"{key.capitalize()}: {text}." for key, text in source.items() if key != "paper"]
    words.append("Protocols differ: compare the shape over the levels, not the values.")
    return tag("p", " ".join(words), class_="note")


def _cited(run: View) -> Markup | None:
    """Published numbers of what the study does not run, marked as such."""
    beyond = run.published.beyond([one.declared for one in run.variants], run.metric) if run.published else []
    if not beyond:
        return None
    body = [
        [
            ", ".join(level if isinstance(level, str) else f"{factor}={level}" for factor, level in levels.items()),
            number(formats.metric(value)),
            "cited, not run",
        ]
        for levels, value in beyond
    ]
    return tag(
        "details",
        tag("summary", "Published, not run here"),
        rows(["Named", "Published", ""], body, "What the paper compares with and this study does not run."),
    )


def _other_metrics(run: View) -> Markup | None:
    """Means of the other metrics that the cells report, under their ids."""
    ids: dict[str, str] = {}
    for text in dict.fromkeys(row.get("metric_ids") for row in run.rows):
        ids |= mapping(loads(text))
    others = [name for name in ids if name != run.metric and any(row.get(name) is not None for row in run.rows)]
    if not others:
        return None
    body = []
    for one in selection.shown(run, selection.IN_PAGE):
        cells = [row for row in one.rows if row["status"] == "finished"]
        body.append([one.label, *(number(formats.metric(mean(row.get(name) for row in cells))) for name in others)])
    table = rows(["Variant", *(tag("code", ids[name]) for name in others)], body, "Means over seeds; not compared.")
    return tag("details", tag("summary", "Other metrics"), table)


def _error(error: str) -> Markup:
    lines = error.splitlines()
    if len(lines) < 2 and len(error) < 300:
        return tag("span", error)
    last = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return tag("details", tag("summary", last[:300]), tag("pre", error))
