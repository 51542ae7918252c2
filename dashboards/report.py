"""The report of a run: one page that needs no network, and the tables beside it."""

from pathlib import Path

import pyarrow as pa

from dashboards.ablation import answer as ablation
from dashboards.ablation import (
    factors,
    glossary,
    header,
    paired_episodes,
    provenance,
    sections,
    tables,
    variants_table,
)
from dashboards.ablation.view import View, view
from dashboards.html.document import document
from dashboards.search import page as search_page
from raysearch.core import atomic
from raysearch.core.errors import UserError
from raysearch.runs import results
from raysearch.runs.study_record import StudyRecord

__all__ = ["GALLERY", "answer", "page", "write"]

GALLERY = "gallery.html"  # beside the report, where there is one


def write(run_dir: str | Path, table: pa.Table | None = None) -> Path:
    """Draw a run's report and tables from what its directory holds; each file is replaced whole.

    Args:
        run_dir: a directory that `raysearch.sweep` wrote, of a run that may still be going on.
        table: what `results.load` returns of it, for those who have loaded it already.

    Returns:
        The path of `report.html`; beside it are `tables/variants.csv`, `.tex` and `.md`, of a search
        `tables/configs.csv` and `judged.csv`.

    Raises:
        UserError: not a run directory, a damaged cell file, or cells that must not be compared.
    """
    study = results.read_study(run_dir)
    if (Path(run_dir) / GALLERY).is_file():
        study = study.changed({"gallery": GALLERY})
    table = results.load(run_dir) if table is None else table
    text, files = _search(study, table) if study.kind == "search" else _ablation(study, table)
    for name, content in files.items():
        _write(Path(run_dir) / "tables" / name, content)
    return _write(Path(run_dir) / "report.html", text)


def answer(study: StudyRecord, table: pa.Table) -> str:
    """What came out, in a sentence or, of a search, a few.

    Args:
        study: what `study.json` holds.
        table: what `results.load` returns.
    """
    return search_page.answer(study, table) if study.kind == "search" else ablation.answer(study, table)


def page(run: View) -> str:
    """The page of an ablation."""
    parts = [header.opening(run), variants_table.variants(run), sections.effects(run)]
    parts += [paired_episodes.same_episodes(run), factors.factors(run), sections.tie_order(run)]
    parts += [sections.learned(run), sections.cost(run), sections.failures(run)]
    parts += [provenance.provenance(run), glossary.definitions(run)]
    return document(f"{run.study.study}: {run.study.question or 'report'}", *parts)


def _ablation(study: StudyRecord, table: pa.Table) -> tuple[str, dict[str, str]]:
    run = view(study, table)
    paper_table = tables.paper_table(run)
    files = {
        "variants.csv": tables.csv_table(run).to_csv(),
        "variants.tex": paper_table.to_latex(),
        "variants.md": paper_table.to_markdown(),
    }
    return page(run), files


def _search(study: StudyRecord, table: pa.Table) -> tuple[str, dict[str, str]]:
    run = search_page.search_view(study, table)
    return search_page.build_page(run), search_page.table_files(run)


def _write(path: Path, text: str) -> Path:
    if path.parent.name == "tables" and path.parent.is_symlink():  # a run that came from elsewhere may point anywhere
        raise UserError(f"'{path.parent}' is a link; tables are written into the run alone")
    return atomic.replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))
