"""The page of a study on several data sets, the pages of its sets, and its tables."""

from typing import Any

from dashboards.ablation import cost, glossary, header, provenance, sections, tables
from dashboards.ablation import page as ablation_page
from dashboards.html import (
    Markup,
    Section,
    breakable_name,
    formats,
    number_cell,
    page_parts,
    section,
    table_element,
    tag,
)
from dashboards.report_sections import draw_page, register_sections
from dashboards.run_data import mean
from dashboards.several_sets import answer, ranks
from dashboards.several_sets.main_table import main_table
from dashboards.several_sets.view import SetsView


def results_section(run: SetsView) -> Section:
    """Return the section with the main table."""
    return section("results", "Results", tag("div", main_table(run).for_page().to_html(), class_="dense"))


def sets_section(run: SetsView) -> Section:
    """Return the table of the data sets, with a link to the page of each."""
    pages = run.page_names()
    has_notes = any(of_set.error or of_set.warnings for of_set in run.study.data_sets.values())
    body: list[list[Any]] = []
    for name, view in run.on_set.items():
        of_set = run.study.data_sets[name]
        planned = len(view.study.cells)
        counts = f"{view.status('finished'):,} of {planned:,}"
        failed = f", {view.status('failed'):,} failed" if view.status("failed") else ""
        notes = [*([of_set.error] if of_set.error else []), *of_set.warnings]
        body.append(
            [
                tag("a", name, href=pages[name]),
                header.data(of_set.data, whole=bool(of_set.splits)),
                counts + failed,
                formats.metric(of_set.chance) if of_set.chance is not None else "",
                tag("code", (of_set.data.content_hash or "")[:12]),
                *([tag("td", "; ".join(notes), class_="wide")] if has_notes else []),
            ]
        )
    titles = ["Data set", "Images", "Cells finished", "Chance", "Hash", *(["Notes"] if has_notes else [])]
    note = "Each data set has a page of its own, with its variants, effects, learning curves and other metrics."
    return section("sets", "Data sets", table_element(titles, body, note))


def cost_section(run: SetsView) -> Section:
    """Return the time and money of the study, and of each data set; its page has those of the variants."""
    body: list[list[Any]] = []
    for name, view in run.on_set.items():
        cells = list({row["cell"]: row for row in view.rows}.values())
        seconds = sum(row.get("seconds") or 0.0 for row in cells)
        per_cell = mean(row.get("seconds") for variant in view.variants for row in variant.timed)
        gpu = sum(row.get("gpu_seconds") or 0.0 for row in cells)
        body.append([name, number_cell(formats.seconds(seconds), by=seconds),
                     number_cell(formats.seconds(per_cell), by=per_cell),
                     number_cell(formats.seconds(gpu) if gpu else formats.NONE, by=gpu)])  # fmt: skip
    titles = ["Data set", "All cells", "Mean of the finished cells", "On GPUs"]
    note = " ".join(part for part in (run.times_note, "The page of a data set has the time of each variant.") if part)
    return section("cost", "Cost", cost.spent(run.study, run.rows), table_element(titles, body, note))


register_sections(
    "several_sets",
    {
        "results": results_section,
        "ranks": ranks.ranks_section,
        "sets": sets_section,
        "cost": cost_section,
        "failures": sections.failures,
        "provenance": provenance.provenance,
        "definitions": glossary.definitions,
    },
)


def page(run: SetsView, gallery: bool = False) -> str:
    """Return the HTML of the page; `gallery` is whether the run has a gallery to link to."""
    return draw_page("several_sets", run, header.opening(run, gallery, _answer(run)))


def set_pages(run: SetsView) -> dict[str, str]:
    """Return file name -> HTML of the page of each data set: that of an ablation on it alone."""
    return {name: ablation_page.page(run.on_set[data_set]) for data_set, name in run.page_names().items()}


def table_files(run: SetsView) -> dict[str, str]:
    """Return name -> text of the tables: the main table, and all variants on all sets."""
    table = main_table(run)
    for_people = table.for_people()
    return {
        "main.csv": table.for_csv().to_csv(),
        "main.tex": for_people.to_latex(),
        "main.md": for_people.to_markdown(),
        **tables.variant_files(run),
    }


def _answer(run: SetsView) -> Markup:
    """Return the answer, a paragraph per data set."""
    lines = [
        *(tag("p", line) for line in answer.preface(run)),
        *(tag("p", tag("b", name), ": ", breakable_name(text)) for name, text in answer.on_each_set(run).items()),
        *(tag("p", breakable_name(line)) for line in answer.warnings(run)),
    ]
    return page_parts.answer_box(*lines)
