"""A run, finished or not, as Python objects: its table, its comparisons, its answer, and its figures."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from dashboards import report
from dashboards.outcome import message
from dashboards.papers import files as paper_files
from raysearch.core import UserError, nearest
from raysearch.messages import ResultMessage
from raysearch.runs import RunLocation, StudyRecord, results

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from dashboards.papers.rendering import Format

_SHORT_NAMES: Mapping[str, Mapping[str, str]] = {  # kind of study -> short name -> name in the report
    "ablation": {"heat_map": "heat"},
    "search": {"effects": "judging", "learning": "curves"},
    "explanation": {"effects": "path"},
}


class RunResults:
    """The results of a run, read anew from its cells at each call. `load` makes it.

    Args:
        location: path or URI of the run.

    Raises:
        UserError: it is not a run directory.
    """

    def __init__(self, location: str | Path) -> None:
        self._location = RunLocation(location)
        self._location.fetch()
        self.study: StudyRecord = results.read_study(self.directory)

    @property
    def directory(self) -> Path:
        """The local directory of the run."""
        return self._location.directory

    def table(self) -> pa.Table:
        """Return one row per ended cell, as `raysearch.studies.results.load` does."""
        return results.load(self.directory)

    def to_pandas(self) -> "pd.DataFrame":
        """Return the table as a pandas DataFrame."""
        return self.table().to_pandas()

    def compare(self) -> pa.Table:
        """Return one row per variant: its verdict, claim, mean and difference from the reference, with intervals.

        Verdicts follow the rule of the study and are those of the report. The rows of a search are the
        reference and the best config of each group.

        Raises:
            UserError: a comparison of the cells would mean nothing.
        """
        rows = [variant.model_dump(exclude={"settings"}) for variant in self.outcome().variants]
        for row in rows:
            for name in ("interval", "difference_interval"):
                low, high = row.pop(name) or (None, None)
                row |= {f"{name}_low": low, f"{name}_high": high}
        return pa.Table.from_pylist(rows)

    def answer(self) -> str:
        """Return the answer to the study's question, as the report has it."""
        return report.answer(self.study, self.table())

    def outcome(self) -> ResultMessage:
        """Return all that `raysearch report --json` prints, as one object."""
        return message.outcome(self.directory, str(self._location), files=report.written_files(self.directory))

    def figures(self) -> "dict[str, go.Figure]":
        """Return name -> figure of the report, as plotly Figures in the order of the page."""
        embedded = report.figures(self.study, self.table())
        return {figure.name: figure.figure.update_layout(template="plotly_white", width=None) for figure in embedded}

    def figure(self, name: str = "effects") -> "go.Figure":
        """Return a figure of the report as a plotly Figure.

        Args:
            name: of an ablation, for example, `effects`, `cost`, `heat_map`, `tradeoff`, or `learning-0` for the first
                of several; of a search `effects` (its final evaluation), `history`, `learning`, `front` or `parallel`;
                of an explanation `effects` (its waterfall). A name without its number is the first. `figures` has all
                names.

        Raises:
            UserError: the results give no figure of this name.
        """
        figures = self.figures()
        short_names = _SHORT_NAMES[self.study.kind or "ablation"]
        full = short_names.get(name, name)
        for candidate in (full, f"{full}-0"):
            if candidate in figures:
                return figures[candidate]
        known = [short for short, full in short_names.items() if full in figures or f"{full}-0" in figures]
        raise UserError(f"these results give no figure '{name}'{nearest(name, [*figures, *known])}")

    def save_figures(self, folder: str | Path, *formats: "Format") -> Path:
        """Write each figure of the report alone, in the size and the colors of a paper, with captions beside them.

        Args:
            folder: a folder named `figures` is made in it.
            formats: of "pdf", "svg" and "png"; without any, "pdf".

        Returns:
            The folder of the figures.

        Raises:
            UserError: an unknown format; there is no figure; or kaleido or a browser, which draw them, is missing.
        """
        chosen = paper_files.parse_formats(formats or ("pdf",))
        return paper_files.write_figures(report.figures(self.study, self.table()), Path(folder), chosen)

    def __repr__(self) -> str:
        return f"RunResults({str(self._location)!r}): {self.answer()}"

    def _repr_html_(self) -> str:
        """Return the answer and the table of verdicts, for a notebook. All texts of the run are escaped."""
        outcome = self.outcome()
        titles = ("variant", "mean", "difference", "verdict", "seeds")
        rows = [
            (
                variant.label,
                _number(variant.mean),
                _number(variant.difference, variant.difference_interval),
                variant.verdict,
                str(variant.seeds),
            )
            for variant in outcome.variants
        ]
        head = "".join(f"<th>{title}</th>" for title in titles)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        return (
            f"<p><b>{html.escape(outcome.question)}</b><br>{html.escape(outcome.answer)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def _number(value: float | None, interval: tuple[float, float] | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" + (f" [{interval[0]:+.4g}, {interval[1]:+.4g}]" if interval else "")


def load(run: str | Path) -> RunResults:
    """Open a run of `raysearch.sweep` or `raysearch.run`, which may still be running. Torch and Ray are not imported.

    Args:
        run: path or URI of the run directory.

    Raises:
        UserError: it is not a run directory, or the store does not answer.
    """
    return RunResults(run)
