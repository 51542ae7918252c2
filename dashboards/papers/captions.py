"""The captions of the figures of a report: a LaTeX file that shows each figure, and a Markdown file."""

from collections.abc import Mapping

from dashboards.html import EmbeddedFigure
from dashboards.html.paper_text import markdown_text, tex
from dashboards.papers.layout import PaperFigure

_PREAMBLE = """\
% The figures of a report of raysearch. Copy those that the paper shows, or read the whole file with \\input{{{file}}}.
% In the preamble: \\usepackage{{graphicx,amssymb}} and \\graphicspath{{{{{folder}/}}}}
"""


def caption(embedded: EmbeddedFigure) -> str:
    """Return the caption of a figure: what it shows, and how to read it.

    >>> import plotly.graph_objects as go
    >>> caption(EmbeddedFigure("cost", go.Figure(), "Seconds per cell", "Bars are means."))
    'Seconds per cell. Bars are means.'
    """
    first, _, rest = embedded.title.rstrip(".").partition(" ")
    title = (
        f"{first.capitalize() if first.islower() and first.isalpha() else first} {rest}".strip()
    )  # not mAP, train.lr
    return f"{title}. {embedded.caption}".strip()


def latex_file(embedded: Mapping[str, EmbeddedFigure], drawn: Mapping[str, PaperFigure], folder: str) -> str:
    """Return LaTeX with a `figure` for each file, `figure*` for those that take both columns.

    Args:
        embedded: name -> figure of the page.
        drawn: name -> figure as it is drawn.
        folder: name of the folder of the files.
    """
    figures = [_latex_figure(name, figure, drawn[name].is_wide) for name, figure in embedded.items()]
    return "\n".join([_PREAMBLE.format(file=f"{folder}/figures.tex", folder=folder), *figures])


def _latex_figure(name: str, embedded: EmbeddedFigure, is_wide: bool) -> str:
    environment = "figure*" if is_wide else "figure"
    width = r"\textwidth" if is_wide else r"\columnwidth"
    return "\n".join(
        [
            rf"\begin{{{environment}}}[t]",
            r"  \centering",
            rf"  \includegraphics[width={width}]{{{name}}}",
            rf"  \caption{{{tex(caption(embedded))}}}",
            rf"  \label{{fig:{name}}}",
            rf"\end{{{environment}}}",
            "",
        ]
    )


def markdown_file(embedded: Mapping[str, EmbeddedFigure], drawn: Mapping[str, PaperFigure], suffix: str) -> str:
    """Return Markdown with each figure, its size and its caption.

    Args:
        embedded: name -> figure of the page.
        drawn: name -> figure as it is drawn.
        suffix: format of the files that are shown.
    """
    parts = []
    for name, figure in embedded.items():
        width, height = drawn[name].inches
        parts.append(
            f"![{name}]({name}.{suffix})\n\n{markdown_text(caption(figure))} ({width:.2f} x {height:.2f} in)\n"
        )
    return "\n".join(parts)
