"""The parts of the page that say what came out beside the tables: effects, ties, learning, cost, failures."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.ablation import cost as ablation_cost
from dashboards.ablation import effects as plots
from dashboards.ablation import figures, learning_curves, ties, tradeoff
from dashboards.ablation.tables import verdict
from dashboards.ablation.view import View
from dashboards.html import formats, verdicts
from dashboards.html.embed import embed
from dashboards.html.markup import Markup, name, rows, section, tag
from dashboards.run_data import row_limits
from raysearch.runs.study_record import StudyRecord

_MOST_ERRORS = 50  # rows of the table of failures


def effects(run: View) -> Markup | None:
    figure = plots.effects(run)
    if figure is None:
        return None
    caption = (
        "Each variant's difference from the reference, averaged over the seeds that both finished, with its 95 % "
        f"interval. {verdicts.verdict_text('better')}, {verdicts.verdict_text('worse')}, \N{WHITE CIRCLE} undecided. "
        "Small dots: the difference of each seed, at the same height in every row; a seed that failed in one of "
        "the two has none."
    )
    if any(one.verdict == "no interval" for one in run.variants):
        caption += f" \N{WHITE DIAMOND} no interval ({'; '.join(run.refusals)})."
    caption = f"{caption} {row_limits.note(run, verdicts.ROWS_IN_FIGURE)}".strip()
    shown = [one for one in row_limits.shown(run, verdicts.ROWS_IN_FIGURE) if not one.is_reference]
    drawn = formats.listed([f"{one.label} {verdict(one)}" for one in shown], most=20)
    return section("effects", "Effects", embed(figure, "plot-effects", caption, f"Plot of effects: {drawn}"))


def tie_order(run: View) -> Markup | None:
    """How much of mAP is the order of ties."""
    figure = ties.brackets(run)
    if figure is None:
        return None
    caption = (
        "Bar: from the worst to the best order of items at equal Hamming distance. Square: the expected value over all "
        "orders, which is compared. Cross: the order in which items are stored. Means over seeds. A difference "
        "that is smaller than a bar could be made by the order of ties alone. "
    )
    caption = f"{caption}{row_limits.note(run, verdicts.ROWS_IN_FIGURE)}".strip()
    says = "mAP of each variant by the order of ties; the means stand under Other metrics in the section Variants"
    return section("ties", "Order of ties", embed(figure, "plot-ties", caption, says))


def learned(run: View) -> Markup | None:
    keys = learning_curves.panels(run)
    if not keys:
        return None
    ranges = learning_curves.common_ranges(run, keys)
    shown = learning_curves.shown(run)
    small = [
        tag(
            "div",
            tag("h3", name(one.label)),
            embed(
                learning_curves.figure(run, one, keys, ranges),
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
    caption = f"{caption}{row_limits.note(run, verdicts.ROWS_IN_FIGURE)}".strip()
    return section(
        "cost",
        "Cost",
        spent(run.study, run.rows),
        embed(figure, "plot-cost", caption, "Seconds a cell of each variant; the means stand in the table of variants"),
        *_tradeoff(run),
    )


def _tradeoff(run: View) -> list[Markup]:
    figure = tradeoff.tradeoff(run)
    if figure is None:
        return []
    caption = (
        "Each variant's mean cost against its difference from the reference (blue, at zero), with 95 % intervals. The "
        "line joins those that no other beats in both; a step of it whose intervals hold zero is not shown to be one. "
    )
    caption = f"{caption}{row_limits.note(run, verdicts.ROWS_IN_FIGURE)}".strip()
    says = "Cost of each variant against its difference from the reference; both stand in the table of variants"
    return [tag("h3", "Cost against effect"), embed(figure, "plot-tradeoff", caption, says)]


def spent(study: StudyRecord, cells: Sequence[Mapping[str, Any]]) -> Markup:
    """What all cells took together; a cell that stands under several names counts once."""
    own = list({row["cell"]: row for row in cells}.values())
    gpu = sum(row.get("gpu_seconds") or 0.0 for row in own)
    wall = study.wall_seconds
    adopted = study.adopted or 0
    facts = [("All cells together", formats.seconds(sum(row.get("seconds") or 0.0 for row in own)))]
    if gpu:
        facts.append(("On GPUs", formats.seconds(gpu)))
    if wall:
        facts.append(("Wall clock", formats.seconds(wall)))
        facts.append(("Cells an hour", f"{(len(own) - adopted) / wall * 3600:,.0f}"))
    facts += ablation_cost.cost_facts(study.cost)
    if study.pre_trainings.cells:
        spent_before = formats.seconds(study.pre_trainings.seconds)
        facts.append(("Pre-trainings", f"{study.pre_trainings.cells:,}, {spent_before}"))
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


def _error(error: str) -> Markup:
    lines = error.splitlines()
    if len(lines) < 2 and len(error) < 300:
        return tag("span", error)
    last = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return tag("details", tag("summary", last[:300]), tag("pre", error))
