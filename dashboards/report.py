"""The report of a run: one page that needs no network, and the tables beside it; one entry per kind of study."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
from rich.console import RenderableType

from dashboards.ablation import page as ablation_page
from dashboards.ablation import tables as ablation_tables
from dashboards.ablation.header import GALLERY
from dashboards.ablation.judging import answer as ablation_answer
from dashboards.ablation.view import View, view
from dashboards.explanation import answer as explanation_answer
from dashboards.explanation import page as explanation_page
from dashboards.explanation import tables as explanation_tables
from dashboards.explanation.compared import compared_view as compared_explanation
from dashboards.explanation.view import explanation_view
from dashboards.html import EmbeddedFigure, figures_in
from dashboards.live import results as live_results
from dashboards.outcome import ablation as ablation_findings
from dashboards.outcome import explanation as explanation_findings
from dashboards.outcome import search as search_findings
from dashboards.outcome import several_sets as sets_findings
from dashboards.outcome.findings import Findings
from dashboards.papers.files import FOLDER
from dashboards.report_sections import draw_sections
from dashboards.search import final_evaluation
from dashboards.search import page as search_page
from dashboards.search import tables as search_tables
from dashboards.search.answer import answer_sentences
from dashboards.search.view import search_view
from dashboards.several_sets import answer as sets_answer
from dashboards.several_sets import page as sets_page
from dashboards.several_sets.main_table import main_table
from dashboards.several_sets.view import sets_view
from raysearch.core import Registry, atomic, refuse_link
from raysearch.runs import StudyRecord, results

__all__ = ["GALLERY", "REPORTS", "ReportKind", "answer", "figures", "live_state", "report_kind", "terminal", "write"]

AnyView = TypeVar("AnyView")


@dataclass(frozen=True)
class ReportKind(Generic[AnyView]):
    """The report of one kind of study.

    Attributes:
        view: the record and the results -> the view that the other functions take.
        page: the HTML of the page; its second argument is whether there is a gallery to link to.
        files: name -> text of the tables beside the page.
        terminal: the table for the terminal.
        answer: the answer to the study's question.
        live: the data of the live page that depends on the results.
        compared_view: the view for a comparison with other runs.
        findings: verdicts and claims for programs.
        more_pages: file name -> HTML of further pages beside the first.
    """

    view: Callable[[StudyRecord, pa.Table], AnyView]
    page: Callable[[AnyView, bool], str]
    files: Callable[[AnyView], dict[str, str]]
    terminal: Callable[[AnyView], RenderableType]
    answer: Callable[[AnyView], str]
    live: Callable[[AnyView], dict[str, Any]]
    compared_view: Callable[[StudyRecord, pa.Table], View]
    findings: Callable[[AnyView], Findings]
    more_pages: Callable[[AnyView], dict[str, str]] = lambda run: {}


REPORTS: Registry[ReportKind[Any]] = Registry("kind of study")


def report_kind(study: StudyRecord) -> ReportKind[Any]:
    """Return the report of a study's kind. The oldest runs do not record it: they are ablations."""
    return REPORTS[_kind_name(study)]


def _kind_name(study: StudyRecord) -> str:
    return "several_sets" if study.data_sets else study.kind or "ablation"


def write(run_dir: str | Path, table: pa.Table | None = None, out: str | Path | None = None) -> Path:
    """Write the report and the tables of a run, which may still be running; each file is replaced whole.

    Args:
        run_dir: a directory that `raysearch.sweep` wrote.
        table: the run's results, as `results.load` returns them; None loads them.
        out: the directory to write to, for a run that cannot be written to; None for that of the run.

    Returns:
        The path of `report.html`. Beside it are `tables/variants.csv`, `.json`, `.tex` and `.md`, or
        `tables/configs.csv` and `judged.csv` of a search, or `tables/changes.csv` of an explanation; all also as `.tex`
        and `.md`.

    Raises:
        UserError: the directory is not a run directory, a cell file is damaged, the cells must not be compared, or a
            file cannot be written.
    """
    study = results.read_study(run_dir)
    kind = report_kind(study)
    run = kind.view(study, results.load(run_dir) if table is None else table)
    directory = Path(out or run_dir)
    text = kind.page(run, (directory / GALLERY).is_file())
    for name, content in kind.files(run).items():
        _write(directory / "tables" / name, content)
    for name, content in kind.more_pages(run).items():
        _write(directory / name, content)
    return _write(directory / "report.html", text)


def written_files(directory: Path) -> dict[str, str]:
    """Return kind -> path of the pages and tables that a directory holds, for programs."""
    names = {"report": "report.html", "gallery": GALLERY, "results": "results.parquet", "study": "study.json"}
    paths = {kind: directory / name for kind, name in names.items()}
    paths |= {path.name: path for path in sorted(directory.glob("report-*.html"))}
    for folder in ("tables", FOLDER):
        paths |= {f"{folder}/{path.name}": path for path in sorted((directory / folder).glob("*.*"))}
    return {kind: str(path) for kind, path in paths.items() if path.is_file()}


def figures(study: StudyRecord, table: pa.Table) -> list[EmbeddedFigure]:
    """Return the figures of the report, in the order of its page.

    The arguments and errors are those of `answer`.
    """
    run = report_kind(study).view(study, table)
    return figures_in(draw_sections(_kind_name(study), run))


def answer(study: StudyRecord, table: pa.Table) -> str:
    """Return the answer to a study's question: one sentence, or a few for a search.

    Args:
        study: the record of the run.
        table: all cells of the run (`results.load`).

    Raises:
        UserError: a comparison of the cells would mean nothing.
    """
    kind = report_kind(study)
    return kind.answer(kind.view(study, table))


def terminal(study: StudyRecord, table: pa.Table) -> RenderableType:
    """Return the table for the terminal: the variants of an ablation, the best configs of a search, or the changes.

    The arguments and errors are those of `answer`.
    """
    kind = report_kind(study)
    return kind.terminal(kind.view(study, table))


def live_state(study: StudyRecord, table: pa.Table) -> dict[str, Any]:
    """Return the part of the live page's state that depends on the results.

    The arguments and errors are those of `answer`.
    """
    kind = report_kind(study)
    return {
        "study": study.study,
        "question": study.question or study.study,
        "command": study.command or "",
        **live_results.cell_counts(study, table),
        **kind.live(kind.view(study, table)),
    }


def _write(path: Path, text: str) -> Path:
    if path.parent.name == "tables":
        refuse_link(path.parent.parent, "tables")  # a run from elsewhere may point anywhere
    return atomic.write_text(path, text)


REPORTS.register(
    "ablation",
    ReportKind(
        view=view,
        page=ablation_page.page,
        files=ablation_tables.variant_files,
        terminal=ablation_tables.terminal_table,
        answer=ablation_answer.sentence,
        live=live_results.ablation_state,
        compared_view=view,
        findings=ablation_findings.findings,
    ),
)
REPORTS.register(
    "explanation",
    ReportKind(
        view=explanation_view,
        page=explanation_page.build_page,
        files=explanation_tables.table_files,
        terminal=explanation_tables.terminal_table,
        answer=lambda run: " ".join(explanation_answer.answer_sentences(run)),
        live=live_results.explanation_state,
        compared_view=compared_explanation,
        findings=explanation_findings.findings,
    ),
)
REPORTS.register(
    "several_sets",
    ReportKind(
        view=sets_view,
        page=sets_page.page,
        files=sets_page.table_files,
        terminal=lambda run: main_table(run).for_terminal(),
        answer=lambda run: " ".join(sets_answer.sentences(run)),
        live=lambda run: {**live_results.ablation_state(run), "answer": " ".join(sets_answer.sentences(run))},
        compared_view=view,
        findings=sets_findings.findings,
        more_pages=sets_page.set_pages,
    ),
)
REPORTS.register(
    "search",
    ReportKind(
        view=search_view,
        page=search_page.build_page,
        files=search_page.table_files,
        terminal=search_tables.terminal_table,
        answer=lambda run: " ".join(answer_sentences(run)),
        live=live_results.search_state,
        compared_view=final_evaluation.evaluation_view,
        findings=search_findings.findings,
    ),
)
