"""A run, finished or not, as Python objects: its table, its comparisons, its answer, and its figures."""

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dashboards import report
from dashboards.ablation import effects, figures
from dashboards.ablation.cost import draw_tradeoff
from dashboards.explanation.figures import draw_waterfall
from dashboards.outcome import message
from dashboards.search import curves
from dashboards.search import figures as search_figures
from raysearch.core import UserError, nearest
from raysearch.messages import ResultMessage
from raysearch.runs import RunLocation, StudyRecord, results

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_ABLATION: Mapping[str, Callable[[Any], Any]] = {
    "effects": effects.effects,
    "cost": figures.cost,
    "heat_map": figures.heat_map,
    "tradeoff": draw_tradeoff,
}
_SEARCH: Mapping[str, Callable[[Any], Any]] = {
    "effects": lambda view: curves.draw_final_evaluations(view.evaluations),
    "history": lambda view: search_figures.draw_history(view, view.metrics[0]),
    "learning": lambda view: curves.draw_curves(view, view.groups[0]),
    "front": lambda view: search_figures.draw_front(view, view.groups[0]),
}
_EXPLANATION: Mapping[str, Callable[[Any], Any]] = {
    "effects": lambda view: draw_waterfall(view, view.paths[0]) if view.paths else None,
}
_DRAWERS = {"ablation": _ABLATION, "search": _SEARCH, "explanation": _EXPLANATION}


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

    def figure(self, name: str = "effects") -> "go.Figure":
        """Return a figure of the report as a plotly Figure.

        Args:
            name: of an ablation `effects`, `cost`, `heat_map` or `tradeoff`; of a search `effects` (its final
                evaluation), `history`, `learning` or `front`; of an explanation `effects` (its waterfall).

        Raises:
            UserError: an unknown name, or a figure that these results do not give.
        """
        drawers = _DRAWERS[self.study.kind or "ablation"]
        if name not in drawers:
            raise UserError(f"there is no figure '{name}' of this kind of study{nearest(name, drawers)}")
        kind = report.report_kind(self.study)
        figure = drawers[name](kind.view(self.study, self.table()))
        if figure is None:
            raise UserError(f"the results give no figure '{name}'; another may: {', '.join(sorted(drawers))}")
        return figure.update_layout(template="plotly_white", width=None)

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
