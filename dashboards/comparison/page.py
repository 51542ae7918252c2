"""The page of a comparison: it puts the sections in order, and writes the page and the tables beside it."""

from collections.abc import Sequence
from pathlib import Path

from dashboards.comparison import sections, tables
from dashboards.comparison.answer import answer_sentence
from dashboards.comparison.view import Comparison, read_comparison
from dashboards.html import EmbeddedFigure, Markup, document, figures_in
from raysearch.core import atomic, refuse_link

__all__ = ["answer_sentence", "build_page", "default_directory", "figures", "read_comparison", "write_comparison"]


def write_comparison(comparison: Comparison, directory: str | Path) -> Path:
    """Write the page and the tables. Each file is replaced atomically, and the runs are not changed.

    Returns:
        The path of `comparison.html`. Beside it is `tables/` with `means.csv`, and `differences` as `.csv`, `.md` and
        `.tex`.

    Raises:
        UserError: the directory cannot be written.
    """
    folder = refuse_link(directory, "tables")
    for name, text in tables.table_files(comparison).items():
        atomic.write_text(folder / name, text)
    return atomic.write_text(Path(directory) / "comparison.html", build_page(comparison))


def default_directory(directories: Sequence[Path]) -> Path:
    """Return the default directory of a comparison: `comparison`, beside the first run.

    >>> default_directory([Path("runs/small"), Path("runs/large")]).as_posix()
    'runs/comparison'
    """
    first = directories[0]
    return (first if first.name not in ("", "..") else first.resolve()).parent / "comparison"


def build_page(comparison: Comparison) -> str:
    """Return the HTML of the page."""
    title = f"Comparison of {', '.join(comparison.runs)}"
    return document(title, sections.header(comparison), *_sections(comparison))


def figures(comparison: Comparison) -> list[EmbeddedFigure]:
    """Return the figures of the page, in its order."""
    return figures_in(_sections(comparison))


def _sections(comparison: Comparison) -> list[Markup | None]:
    return [
        sections.runs(comparison),
        sections.run_properties(comparison),
        sections.differences(comparison),
        sections.means(comparison),
        sections.cost(comparison),
        sections.definitions(comparison),
    ]
