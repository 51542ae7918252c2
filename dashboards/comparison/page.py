"""The page of several runs side by side, and the tables beside it."""

from collections.abc import Sequence
from pathlib import Path

from dashboards.comparison import sections, tables
from dashboards.comparison.answer import sentence
from dashboards.comparison.view import Comparison, read
from dashboards.html.document import document
from dashboards.html.markup import Markup
from raysearch.core import atomic
from raysearch.core.errors import UserError

__all__ = ["page", "read", "sentence", "write"]


def write(shown: Comparison, directory: str | Path) -> Path:
    """Write the page and the tables; each file is replaced whole, and nothing in the runs is touched.

    Returns:
        The path of `comparison.html`; beside it is `tables/` with `means.csv`, and `differences` as `.csv`, `.md` and
        `.tex`.
    """
    for name, text in tables.files(shown).items():
        _write(Path(directory) / "tables" / name, text)
    return _write(Path(directory) / "comparison.html", page(shown))


def beside(directories: Sequence[Path]) -> Path:
    """Where a comparison stands when nobody says: beside the first run.

    >>> beside([Path("runs/small"), Path("runs/large")]).as_posix()
    'runs/comparison'
    """
    first = directories[0]
    return (first if first.name not in ("", "..") else first.resolve()).parent / "comparison"


def page(shown: Comparison) -> str:
    """The page of a comparison."""
    parts: list[Markup | None] = [sections.opening(shown), sections.runs(shown)]
    parts += [sections.between(shown)]
    parts += [sections.differences(shown), sections.means(shown)]
    parts += [sections.cost(shown), sections.definitions(shown)]
    return document(f"Comparison of {', '.join(shown.runs)}", *parts)


def _write(path: Path, text: str) -> Path:
    try:
        return atomic.replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))
    except OSError as error:
        raise UserError(
            f"cannot write '{path}': {error.strerror}; --out names a directory that can be written"
        ) from None
