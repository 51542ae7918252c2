"""The page of a search: its header, the order of its sections, and the terms that it explains."""

from dashboards.ablation import header, provenance
from dashboards.html import Markup, Section, breakable_name, formats, join, markup, page_parts, tag
from dashboards.report_sections import draw_page, register_sections
from dashboards.search import paper_tables, sections, tables
from dashboards.search.answer import answer_sentences
from dashboards.search.view import SearchView
from raysearch.runs.learned import describe_learned

_TERMS = {
    "Trial, config": "A config is a suggestion of the sampler. Its trial trains it with every tuning seed.",
    "Stopped early": "The scheduler ended the config before its last iteration, because others were better by then.",
    "Fresh seeds": "Seeds that tuned no config. The best of many configs was partly lucky with the seeds that chose "
    "it. Fresh seeds remove that luck, so only they support a claim.",
    "Difference": "The best config's metric minus the reference's with the same seed, averaged, with Student's t "
    "interval at 95 %.",
    "Better, worse": "The difference is significant: p (Holm) is at most 0.05. It comes from the two-sided paired "
    "t-test, corrected over the groups. The spread includes the rounding of the metric to the steps of its test items; "
    "if the difference is the same with every seed, there is no verdict.",
    "Importance": "The share of a parameter in the difference between good configs and the rest, by Optuna's "
    "PED-ANOVA. Parameters that some configs do not have are left out.",
}


def table_files(run: SearchView) -> dict[str, str]:
    """Return the tables beside the page: file name -> content."""
    configs = paper_tables.configs_paper_table(run)
    files = {
        "configs.csv": tables.configs_csv(run),
        "configs.tex": configs.to_latex(),
        "configs.md": configs.to_markdown(),
    }
    if run.evaluations:
        judged = paper_tables.evaluations_paper_table(run)
        files |= {"judged.csv": tables.evaluations_csv(run), "judged.tex": judged.to_latex()}
        files["judged.md"] = judged.to_markdown()
    return files


def build_page(run: SearchView, gallery: bool = False) -> str:
    """Return the HTML of the page; `gallery` is whether the run has a gallery to link to."""
    return draw_page("search", run, _header(run, gallery))


def _header(run: SearchView, gallery: bool) -> Markup:
    study = run.study
    metric = run.evaluations[0].metric if run.evaluations else ""
    statuses = {"finished": "finished", "stopped": "stopped early", "failed": "failed"}
    statuses |= {"unfinished": "unfinished"} if run.count("unfinished") else {}
    counts = ", ".join(f"{run.count(status):,} {text}" for status, text in statuses.items())
    facts = [
        ("Profile", study.profile or "not recorded"),
        ("Data", header.data(study.data)),
        ("Chosen by", join(*(tag("code", run.ids.get(name, name), " ") for name in run.metrics))),
        ("Evaluated by", tag("code", run.ids.get(metric, metric)) if metric else "no final evaluation"),
        ("Configs", counts),
        ("Sampler", " with ".join(part for part in (study.sampler, study.scheduler) if part) or "unknown"),
        *([("Cells", header.reused(study))] if study.adopted else []),
        *([("Learned", _learned(run))] if study.learned else []),
        *header.gallery(gallery),
    ]
    return page_parts.header(study.study, study.question or study.study, facts, _answer(run), header.caution(study))


def _learned(run: SearchView) -> Markup:
    """Return what the search learned from other runs, a line per group."""
    lines = [describe_learned(entry) for entry in run.study.learned]
    return join(*(tag("div", line) for line in lines))


def _answer(run: SearchView) -> Markup:
    """Return the answer; the sentences of the groups are larger than the last one."""
    *answers, tried = answer_sentences(run)
    leads = [tag("strong", breakable_name(sentence)) for sentence in answers]
    return page_parts.answer_box(
        tag("p", *leads, breakable_name(tried) if leads else tag("strong", breakable_name(tried)))
    )


def _space(run: SearchView) -> Markup | None:
    """Return the search space as the study file declares it."""
    if not run.study.space:
        return None
    body = [
        [path, tag("td", tag("code", formats.level(distribution)), class_="wide")]
        for path, distribution in run.study.space.items()
    ]
    return tag("details", tag("summary", "Search space as declared"), markup.table_element(["Path", "Values"], body))


def _definitions(run: SearchView) -> Section:
    """Explain the terms of the page."""
    directions = {"max": "higher is better", "min": "lower is better"}
    metrics = "; ".join(f"{run.ids.get(metric, metric)}, {directions[run.modes[metric]]}" for metric in run.metrics)
    source = "The task reports it in each step" if run.study.code else "The test split chooses nothing"
    return page_parts.definitions({"Chosen by": f"{metrics}. {source}.", **_TERMS})


def _provenance(run: SearchView) -> Section:
    return provenance.section(run.study, run.rows, _space(run))


register_sections(
    "search",
    {
        "evaluation": sections.final_evaluation,
        "configs": sections.configs,
        "history": sections.history,
        "fronts": sections.fronts,
        "space": sections.space,
        "curves": sections.curves,
        "cost": sections.cost,
        "failures": sections.failures,
        "provenance": _provenance,
        "definitions": _definitions,
    },
)
