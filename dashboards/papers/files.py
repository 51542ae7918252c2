"""Write the figures of a report to a folder, each alone, with their captions beside them."""

from collections.abc import Sequence
from pathlib import Path

from dashboards.html import EmbeddedFigure
from dashboards.papers import captions, rendering
from dashboards.papers.layout import paper_figure
from dashboards.papers.rendering import FORMATS, Format
from raysearch.core import Problems, UserError, atomic, nearest, refuse_link

FOLDER = "figures"


def write_figures(figures: Sequence[EmbeddedFigure], directory: Path, formats: Sequence[Format]) -> Path:
    """Write every figure in every format to `figures/`, and `figures.tex` and `figures.md` with the captions.

    Args:
        figures: the figures of a report.
        directory: where the folder is made, such as a run directory.
        formats: of "pdf", "svg" and "png".

    Returns:
        The path of the folder.

    Raises:
        UserError: the report has no figure, a program that draws them is missing, or a file cannot be written.
    """
    if not figures:
        raise UserError("the report has no figures yet: no cell has a result that can be drawn")
    folder = refuse_link(directory, FOLDER)
    embedded = {figure.name: figure for figure in figures}
    drawn = {name: paper_figure(figure.figure) for name, figure in embedded.items()}
    for format in formats:
        for name, content in rendering.render(drawn, format).items():
            atomic.write_bytes(folder / f"{name}.{format}", content)
    atomic.write_text(folder / "figures.tex", captions.latex_file(embedded, drawn, FOLDER))
    atomic.write_text(folder / "figures.md", captions.markdown_file(embedded, drawn, formats[0]))
    return folder


def parse_formats(texts: Sequence[str]) -> list[Format]:
    """Return the formats of an option that may be repeated and may hold lists: `pdf`, or `pdf,svg`.

    Raises:
        UserError: an unknown format.

    >>> parse_formats(["pdf,svg", "pdf"])
    ['pdf', 'svg']
    """
    names = list(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))
    problems = Problems()
    for name in names:
        if name not in FORMATS:
            problems.add(f"--figures {name}: no such format{nearest(name, FORMATS)}")
    problems.raise_all()
    return [format for format in FORMATS if format in names]
