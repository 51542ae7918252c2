"""The report of a search: its page, its tables and its answer."""

import pyarrow as pa

from dashboards.ablation import header, provenance
from dashboards.html import formats, markup
from dashboards.html.document import document
from dashboards.html.markup import Markup, join, name, tag
from dashboards.search import glossary, sections, tables
from dashboards.search.answer import sentences
from dashboards.search.view import SearchView, search_view
from raysearch.runs.study_record import StudyRecord

__all__ = ["answer", "files", "page", "search_view"]


def answer(study: StudyRecord, table: pa.Table) -> str:
    """What was found, a sentence a group, and how many configs it took.

    Args:
        study: what `study.json` holds.
        table: what `results.load` returns.
    """
    return " ".join(sentences(search_view(study, table)))


def files(run: SearchView) -> dict[str, str]:
    """The tables beside the page, by name."""
    found = {"configs.csv": tables.as_csv(run)}
    return found | ({"judged.csv": tables.judged_csv(run)} if run.judged else {})


def page(run: SearchView) -> str:
    """The page."""
    parts = [_opening(run), sections.judging(run), sections.configs(run), sections.history(run)]
    parts += [sections.fronts(run), sections.space(run), sections.curves(run)]
    parts += [sections.cost(run), sections.failures(run)]
    parts += [provenance.section(run.study, run.rows, _space(run)), glossary.definitions(run)]
    return document(f"{run.study.study}: {run.study.question or 'report'}", *parts)


def _opening(run: SearchView) -> Markup:
    study = run.study
    judge = run.judged[0].metric if run.judged else ""
    facts = [
        ("Profile", study.get("profile") or "not recorded"),
        ("Data", header.data(study.data)),
        ("Chosen by", join(*(tag("code", run.ids.get(one, one), " ") for one in run.metrics))),
        ("Judged by", tag("code", run.ids.get(judge, judge)) if judge else "not judged"),
        ("Configs", f"{run.count('finished'):,} finished, {run.count('stopped'):,} stopped early, {_rest(run)}"),
        ("Sampler", " with ".join(str(study[key]) for key in ("sampler", "scheduler") if study.get(key)) or "unknown"),
        *header.gallery(study),
    ]
    return tag(
        "header",
        tag("p", f"raysearch \N{MIDDLE DOT} {study.study}", class_="brand"),
        tag("h1", study.get("question") or study.get("study") or "A search"),
        _answer(run),
        header.caution(study),
        tag("dl", *(tag("div", tag("dt", term), tag("dd", fact)) for term, fact in facts), class_="facts"),
    )


def _rest(run: SearchView) -> str:
    failed, missing = run.count("failed"), run.count("unfinished")
    return f"{failed:,} failed" + (f", {missing:,} unfinished" if missing else "")


def _answer(run: SearchView) -> Markup:
    """A sentence a group, larger than what it cost."""
    *found, cost = sentences(run)
    leads = [tag("strong", name(one)) for one in found]
    text = tag("p", *leads, name(cost) if leads else tag("strong", name(cost)))
    return tag("section", tag("h2", "Answer"), text, class_="answer", aria_label="Answer")


def _space(run: SearchView) -> Markup | None:
    """What was searched, as the study file says it."""
    space = run.study.get("space") or {}
    if not space:
        return None
    body = [[path, tag("td", tag("code", formats.level(text)), class_="wide")] for path, text in space.items()]
    return tag("details", tag("summary", "The space that was searched"), markup.rows(["Path", "Values"], body))
