"""The page of an explanation: its header, its sections, and the terms that it explains."""

from typing import Any

from dashboards.ablation import header, provenance
from dashboards.ablation.cost import spent
from dashboards.ablation.judging import rule_words
from dashboards.ablation.sections import without_result
from dashboards.explanation import figures, tables
from dashboards.explanation.answer import answer_sentences
from dashboards.explanation.looks_section import looks_section
from dashboards.explanation.view import ExplanationView
from dashboards.html import Markup, Section, breakable_name, embed, formats, page_parts, section, tag
from dashboards.report_sections import draw_page, register_sections

_TERMS = {
    "Path": "The configs from the reference to the best config, one change at a time. At each step the path takes "
    "the change that gains most. The gain of a step is that of the change given the changes before it.",
    "Fresh seeds": "The largest of several gains is partly luck. So the order is chosen on seeds of its own, and "
    "judged on seeds that chose nothing.",
    "Left out of the best": "The best config minus the same config without the change. It differs from the step where "
    "changes depend on each other. For the last change it is the same comparison.",
    "Better, worse": "The difference is significant: p (Holm) is at most 0.05. It comes from the two-sided paired "
    "t-test, corrected over all steps and all changes left out, of all groups.",
    "Within margin": "The whole interval is inside the margin, and the difference is not significant.",
    "Undecided": "The seeds show no difference. That is not a proof that there is none; more seeds may show one.",
    "Shapley value": "The gain of the change, averaged over all orders of the changes. The values add up to the whole "
    "difference. They need every combination of the changes, so they exist for at most four changes.",
}

_TERMS_OF_LOOKS = {
    "Looks": "Numbers of seeds at which the comparisons are judged. They were declared before the first cell. Each "
    "look has a share of the 5 %, so p-values are divided by the share, and intervals are wider. Verdicts and "
    "intervals hold at all looks together. With different seeds, the gains of the steps do not add up exactly.",
    "Whole difference": "Both ends of the path meet on seeds whose number was fixed before, with a 95 % interval. "
    "Shapley values have the seeds of the first look. A number of seeds that depends on results would bend them.",
}


def build_page(run: ExplanationView, gallery: bool = False) -> str:
    """Return the HTML of the page; `gallery` is whether the run has a gallery to link to."""
    return draw_page("explanation", run, _header(run, gallery))


def _header(run: ExplanationView, gallery: bool) -> Markup:
    study = run.study
    choosing = formats.seeds(run.explanation.choosing_seeds)
    facts: list[tuple[str, Any]] = [
        ("Search", run.explanation.search or "not recorded"),
        ("Profile", study.profile or "not recorded"),
        ("Data", header.data(study.data)),
        ("Order chosen by", ", ".join([*run.study.metrics[:1], f"seeds {choosing}"])),
        ("Judged by", tag("code", run.metric_id)),
        ("Seeds", formats.seeds(study.seeds)),
        *([("Looks", rule_words.looks_text(study))] if study.looks else []),
        *([("Cells", header.reused(study))] if study.adopted else []),
        *header.gallery(gallery),
    ]
    leads = [tag("strong", breakable_name(f"{sentence} ")) for sentence in answer_sentences(run)]
    answer = page_parts.answer_box(tag("p", *leads))
    title = study.question or study.study
    return page_parts.header(f"{study.study}, explained", title, facts, answer, header.caution(study))


def path_section(run: ExplanationView) -> Markup | None:
    """Draw the waterfall of each path."""
    parts: list[Any] = []
    caption = (
        "From the reference to the best config. A bar is the gain of a change, given those above it; it begins where "
        "the last one ended. The line at its end is the interval of the gain. Green: better. Orange: worse. "
        "Gray: undecided."
    )
    if run.study.margin is not None:
        caption += " Blue: within the margin."
    for index, path in enumerate(run.paths):
        figure = figures.draw_waterfall(run, path)
        if figure is not None and path.changes:
            parts += [tag("h3", breakable_name(path.group))] if path.group else []
            title = f"Gains of the changes{f' ({path.group})' if path.group else ''}"
            parts.append(embed(figure, f"plot-path-{index}", caption, f"{title}, as in the table below", title))
    return section("path", "From the reference to the best config", *parts) if parts else None


def changes_section(run: ExplanationView) -> Markup | None:
    """List the changes with their gains."""
    if not run.changes:
        return None
    return section("changes", "What each change gains", tables.changes_table(run).to_html())


def cost(run: ExplanationView) -> Markup:
    """Report the time and money that the explanation took."""
    return section("cost", "Cost", spent(run.study, run.rows))


def failures(run: ExplanationView) -> Markup | None:
    """List the failed cells."""
    failed = [row for row in run.rows if row["status"] == "failed"]
    return without_result(failed, {}, "A failed cell counts in no difference.")


def _definitions(run: ExplanationView) -> Section:
    return page_parts.definitions(_TERMS | _TERMS_OF_LOOKS if run.study.looks else _TERMS)


def _provenance(run: ExplanationView) -> Section:
    return provenance.section(run.study, run.rows)


register_sections(
    "explanation",
    {
        "path": path_section,
        "changes": changes_section,
        "looks": looks_section,
        "cost": cost,
        "failures": failures,
        "definitions": _definitions,
        "provenance": _provenance,
    },
)
