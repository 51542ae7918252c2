"""The sections with figures, and the list of failures: effects, tie-breaking, learning curves, cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.ablation import cost as ablation_cost
from dashboards.ablation import effects as plots
from dashboards.ablation import figures, learning_curves, ties, tradeoff
from dashboards.ablation.tables import verdict
from dashboards.ablation.view import View
from dashboards.html import Markup, breakable_name, embed, formats, section, table_element, tag, verdicts
from dashboards.run_data import row_limits
from raysearch.runs import StudyRecord

_MAX_ERRORS = 50  # rows of the table of failures


def effects(run: View) -> Markup | None:
    """Return the plot of effects; None if there is nothing to compare."""
    figure = plots.effects(run)
    if figure is None:
        return None
    caption = (
        "Each variant's difference from the reference with its 95 % interval: the mean over the seeds that both "
        f"finished. {verdicts.verdict_text('better')}, {verdicts.verdict_text('worse')}, \N{WHITE CIRCLE} undecided. "
        "Small dots: the difference of each seed, at the same height in every row. A seed that failed in either "
        "has no dot."
    )
    if any(variant.verdict == "no interval" for variant in run.variants):
        caption += f" \N{WHITE DIAMOND} no interval ({'; '.join(run.refusals)})."
    caption = f"{caption} {row_limits.note(run, verdicts.ROWS_IN_FIGURE)}".strip()
    shown = [variant for variant in row_limits.shown(run, verdicts.ROWS_IN_FIGURE) if not variant.is_reference]
    drawn = formats.listed([f"{variant.label} {verdict(variant)}" for variant in shown], most=20)
    return section("effects", "Effects", embed(figure, "plot-effects", caption, f"Plot of effects: {drawn}"))


def tie_order(run: View) -> Markup | None:
    """Return the section on tie-breaking; None if the run records no orders."""
    figure = ties.brackets(run)
    if figure is None:
        return None
    caption = (
        "Bar: from the worst to the best order of items at equal Hamming distance. Square: the expected value over all "
        "orders, which the report compares. Cross: the order in which items are stored. Means over seeds. "
        "A difference smaller than a bar may come from tie-breaking alone. "
    )
    caption = f"{caption}{row_limits.note(run, verdicts.ROWS_IN_FIGURE)}".strip()
    says = "mAP of each variant by the order of tied items; the means are under Other metrics in the section Variants"
    return section("ties", "Tie-breaking", embed(figure, "plot-ties", caption, says))


def learned(run: View) -> Markup | None:
    """Return the learning curves; None if no variant has any."""
    keys = learning_curves.panels(run)
    if not keys:
        return None
    ranges = learning_curves.common_ranges(run, keys)
    shown = learning_curves.shown(run)
    small = [
        tag(
            "div",
            tag("h3", breakable_name(variant.label)),
            embed(
                learning_curves.figure(run, variant, keys, ranges),
                f"plot-learning-{index}",
                None,
                f"Learning curve of {variant.label}",
            ),
        )
        for index, variant in enumerate(shown)
    ]
    note = "Line: mean over seeds. Band: lowest to highest seed. Dashed gray: the reference. The scales are the same."
    histories = [steps for variant in shown for steps in run.histories[variant.name]]
    if any(step.get("phase") == "warmup" for steps in histories for step in steps):
        note += " Left of the dotted line: warm-up."
    if len(shown) < len(run.histories):
        note += f" The figures show the {len(shown)} of {len(run.histories)} variants with the largest differences."
    return section("learning", "Learning curves", tag("p", note, class_="note"), tag("div", *small, class_="grid"))


def cost(run: View) -> Markup | None:
    """Return the section on time and money; None if no cell recorded its seconds."""
    figure = figures.cost(run)
    if figure is None:
        return None
    caption = "Circles are finished cells, crosses are failed ones. The bar is the mean of the finished cells. "
    caption = f"{caption}{row_limits.note(run, verdicts.ROWS_IN_FIGURE)}".strip()
    return section(
        "cost",
        "Cost",
        spent(run.study, run.rows),
        embed(figure, "plot-cost", caption, "Seconds per cell of each variant; the means are in the table of variants"),
        *_tradeoff(run),
    )


def _tradeoff(run: View) -> list[Markup]:
    figure = tradeoff.tradeoff(run)
    if figure is None:
        return []
    caption = (
        "Each variant's mean cost against its difference from the reference (blue, at zero), with 95 % intervals. The "
        "line joins the variants that no other beats in both. A step whose interval contains zero may not be real. "
    )
    caption = f"{caption}{row_limits.note(run, verdicts.ROWS_IN_FIGURE)}".strip()
    says = "Cost of each variant against its difference from the reference; both are in the table of variants"
    return [tag("h3", "Cost against effect"), embed(figure, "plot-tradeoff", caption, says)]


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
    facts += ablation_cost.cost_facts(study.cost)
    if study.pre_trainings.cells:
        spent_before = formats.seconds(study.pre_trainings.seconds)
        facts.append(("Pre-trainings", f"{study.pre_trainings.cells:,}, {spent_before}"))
    retried = [row for row in distinct if (row.get("attempts") or 1) > 1]
    if retried:
        facts.append(("Needed more than one attempt", formats.count(len(retried), "cell")))
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", fact)) for name, fact in facts), class_="facts")


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
