"""The sections of a comparison's page: the runs, how they differ, differences of variants, means and cost."""

from collections.abc import Callable
from typing import Any

from dashboards.ablation.glossary import metric as metric_definition
from dashboards.ablation.header import caution, data
from dashboards.ablation.provenance import devices_text, pairs
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.comparison import figures
from dashboards.comparison.answer import answer_sentence
from dashboards.comparison.tables import differences_table, largest_matches, verdict_text
from dashboards.comparison.view import Comparison, Match
from dashboards.html import (
    Cell,
    Column,
    Markup,
    Table,
    breakable_name,
    embed,
    formats,
    join,
    number_cell,
    page_parts,
    section,
    table_element,
    tag,
    verdicts,
)
from raysearch.studies.analysis.devices import device_of

_TERMS = {
    "Matched variants": "A variant of a later run is compared with the variant of its name in the first run, and with "
    "the variant that has the same config under another name. The table lists how their configs differ.",
    "Paired": "With at least three common seeds, the difference is taken seed by seed and averaged, with Student's "
    "t interval at 95 %. Effects of a seed on both runs cancel out.",
    "Welch": "With fewer common seeds the cells are two samples: the difference of their means with Welch's interval "
    "at 95 %, which allows each run its own spread. It is wider than a paired interval. Its verdict counts one degree "
    "of freedom less than the smaller run has seeds, because Welch's p-values are too small after a correction.",
    "p (Holm)": "p of the two-sided test, corrected by Holm over all tested differences of this page. The variance of "
    "rounding to the metric's step is part of every spread. Without any spread there is no verdict.",
    "Same cells": "Both runs contain the same result: config, data, seed and code version are equal. "
    "Nothing is tested.",
    "Failed, stopped, not run": "Cells without a number. They are counted and never replaced.",
}


def header(comparison: Comparison) -> Markup:
    """Draw the page's header with the answer."""
    questions = dict.fromkeys(run.study.question or "" for run in comparison.runs.values())
    names = formats.listed(list(comparison.runs))
    title = next(iter(questions)) if len(questions) == 1 and "" not in questions else f"{names} side by side"
    facts: list[tuple[str, Any]] = [
        ("Metric", join(*(tag("code", metric_id, " ") for metric_id in comparison.metric_ids))),
        ("Data", data(comparison.first_run.study.data)),
        ("Runs", names),
    ]
    finding, semicolon, rest = answer_sentence(comparison).partition("; ")
    lead = tag("strong", breakable_name(finding + ("." if semicolon else "")))
    answer = join(lead, " " if rest else "", breakable_name(rest[:1].upper() + rest[1:]))
    laptop_runs = [run.study for run in comparison.runs.values() if run.study.profile == "laptop"]
    limits = caution(laptop_runs[0]) if laptop_runs else None
    return page_parts.header("comparison", title, facts, page_parts.answer_box(tag("p", answer)), limits)


def runs(comparison: Comparison) -> Markup:
    """List the runs: question, seeds, finished cells and time."""
    titles = ["Run", "Question", "Study", "Seeds", "Cells finished", "All cells", "On GPUs"]
    body = []
    for run_name, run in comparison.runs.items():
        cells = {row["cell"]: row for row in run.rows}.values()
        seconds = sum(row.get("seconds") or 0.0 for row in cells)
        gpu_seconds = sum(row.get("gpu_seconds") or 0.0 for row in cells)
        body.append(
            [
                breakable_name(run_name),
                tag("td", run.study.question or "", class_="wide"),
                run.study.study,
                formats.seeds({row["seed"] for row in run.rows}),
                _finished(run),
                number_cell(formats.seconds(seconds)),
                number_cell(formats.seconds(gpu_seconds) if gpu_seconds else ""),
            ]
        )
    return section("runs", "Runs", table_element(titles, body))


def run_properties(comparison: Comparison) -> Markup:
    """List the properties that differ between the runs and may differ: code, machine, seeds, settings."""
    properties: dict[str, Callable[[View], str]] = {
        "Study": lambda run: run.study.study,
        "Question": lambda run: run.study.question or "",
        "Profile": lambda run: run.study.profile or "",
        "Design": lambda run: run.study.design or run.study.sampler or "",
        "Seeds": lambda run: formats.seeds({row["seed"] for row in run.rows}),
        "Code version": _code_versions,
        "Versions": lambda run: pairs(run.study.versions),
        "Hardware": lambda run: pairs(run.study.hardware),
        "Devices": lambda run: devices_text(run.rows),
        "Set on the command line": lambda run: pairs(run.study.settings.get("overrides")),
        "Command": lambda run: run.study.command or "",
        "Data read from": lambda run: run.study.data.path or "",
    }
    body = []
    for title, value_of in properties.items():
        values = [value_of(run) for run in comparison.runs.values()]
        if len(set(values)) > 1:
            body.append([title, *(tag("td", value or formats.NONE, class_="wide") for value in values)])
    equal = "Task, metric, data and evaluation protocol are equal in all runs; other runs cannot be compared."
    content = tag("p", f"Nothing that was recorded. {equal}")
    if body:
        content = table_element(["", *map(breakable_name, comparison.runs)], body, equal)
    return section("between", "What differs between the runs", content)


def differences(comparison: Comparison) -> Markup:
    """Compare every variant of a later run with its match in the first run."""
    title = "Differences between runs"
    if not comparison.matches:
        text = "No variant of the first run has its name or its config in another run."
        return section("differences", title, tag("p", text))
    figure = figures.draw_differences(comparison)
    caption = "Open circles are undecided. Diamonds have too few seeds for an interval. A bar marks the same cells."
    verdicts = [f"{match.label} {verdict_text(match)}" for match in largest_matches(comparison, 20)]
    description = f"{title}: {formats.listed(verdicts, most=20)}"
    drawn = embed(figure, "plot-differences", caption, description, title) if figure else None
    return section("differences", title, differences_table(comparison).to_html(), drawn)


def means(comparison: Comparison) -> Markup:
    """List every variant's mean in every run."""
    variants = [{variant.name: variant for variant in run.variants} for run in comparison.runs.values()]
    labels = {variant.name: variant.label for run in comparison.runs.values() for variant in run.variants}
    columns = [Column[str]("Variant", lambda variant_name: labels[variant_name], "name")]
    for run_name, by_name in zip(comparison.runs, variants, strict=True):
        columns.append(Column(breakable_name(run_name), _mean_in(by_name)))
    note = "Means over seeds. In brackets: their 95 % intervals, which show how far seeds scatter."
    if len(comparison.variant_names) > verdicts.ROWS_IN_PAGE:
        total = len(comparison.variant_names)
        note += f" The first {verdicts.ROWS_IN_PAGE} of {total:,} variants; tables/means.csv lists all."
    table = Table(columns, figures.order_variants(comparison)[: verdicts.ROWS_IN_PAGE], note).to_html()
    figure = figures.draw_means(comparison)
    caption = "One mark per run, with the interval of its mean. The section above tests whether runs differ."
    says = "Means of every run, as in the table"
    drawn = embed(figure, "plot-means", caption, says, "Means of every run") if figure else None
    return section("means", "Means", table, drawn)


def cost(comparison: Comparison) -> Markup | None:
    """Compare the time per cell of matched variants; None if no time is recorded."""
    timed = [
        match
        for match in largest_matches(comparison, verdicts.ROWS_IN_PAGE)
        if match.variant.seconds is not None and match.baseline.seconds is not None
    ]
    if not timed:
        return None
    columns: list[Column[Match]] = [
        Column("Variant", lambda match: match.label, "name"),
        Column("Run", lambda match: match.run, "name"),
        Column("Time per cell", lambda match: _time(match.variant.seconds)),
        Column(
            join("Time per cell, ", breakable_name(comparison.first_name)), lambda match: _time(match.baseline.seconds)
        ),
        Column("Ratio", _time_ratio),
    ]
    note = "Means over finished cells, on the device of each run. Times on different kinds of devices have no ratio."
    return section("cost", "Cost", Table(columns, timed, note).to_html())


def definitions(comparison: Comparison) -> Markup:
    """Explain the terms of the page."""
    first = comparison.first_run
    return page_parts.definitions({formats.metric_name(first.metric): metric_definition(first), **_TERMS})


def _finished(run: View) -> Markup:
    missing = {"failed": run.status("failed"), "stopped": run.status("stopped"), "not run": run.missing}
    detail = ", ".join(f"{count:,} {kind}" for kind, count in missing.items() if count)
    return number_cell(f"{run.status('finished'):,} of {run.planned:,}", detail)


def _code_versions(run: View) -> str:
    """Return the versions of the task's code; of a user's task the digest of each source file."""
    if run.study.code:
        return formats.listed([f"{file} {digest}" for file, digest in run.study.code.items()])
    versions = {str(row["code_version"]) for row in run.rows if row.get("code_version") is not None}
    return formats.listed(sorted(versions))


def _mean_in(variants: dict[str, Variant]) -> Callable[[str], Cell]:
    """Return the cell of a variant in one run, given the variant's name."""

    def _cell(variant_name: str) -> Cell:
        if variant_name not in variants:
            return Cell("", "not in this run")
        variant = variants[variant_name]
        row = variant.compared
        detail = f"{formats.interval(*variant.mean_interval)} {formats.count(row['seeds'], 'seed')}".strip()
        if variant.holes:
            detail += f", {variant.holes} without a result"
        return Cell(formats.metric(row["mean"]), detail, row["mean"])

    return _cell


def _time(seconds: float | None) -> Cell:
    return Cell(formats.seconds(seconds), sort_key=seconds)


def _time_ratio(match: Match) -> Cell:
    seconds = match.variant.seconds
    baseline = match.baseline.seconds
    same_device = len({device_of(row) for row in [*match.variant.timed, *match.baseline.timed]}) == 1
    ratio = seconds / baseline if seconds is not None and baseline and same_device else None
    return Cell("" if ratio is None else f"{ratio:.2f}", sort_key=ratio)
