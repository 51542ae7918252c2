"""The section on the looks of an explanation: which comparison ended at which look, and the seeds that each took."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dashboards.ablation.judging import rule_words
from dashboards.ablation.judging.looks import look_cell
from dashboards.explanation.view import ExplanationView
from dashboards.html import Cell, Column, Markup, Table, formats, section, tag, verdicts
from raysearch.studies.analysis.raced_path import RacedPair

_ENDED = ("better", "worse", verdicts.WITHIN)


@dataclass(frozen=True)
class LookedComparison:
    """A comparison with its name for people."""

    label: str
    raced: RacedPair


def looks_section(run: ExplanationView) -> Markup | None:
    """Return the section; None for a fixed number of seeds."""
    if not run.study.looks or not run.raced:
        return None
    return section("looks", "Looks", tag("p", _summary(run), class_="note"), looks_table(run).to_html())


def looks_table(run: ExplanationView) -> Table[LookedComparison]:
    """Return the gain of every comparison at every look that judged it, and when it ended."""
    columns: list[Column[LookedComparison]] = [Column("Comparison", lambda compared: compared.label, "name")]
    for number, seeds in enumerate(run.study.looks, start=1):
        columns.append(Column(f"{seeds} seeds", _at_look(number)))
    columns.append(Column("Ended", lambda compared: _ended(run, compared.raced), "verdict"))
    note = (
        "Gains at each look, with the interval of the look in brackets. Levels of the intervals: "
        f"{rule_words.levels_text(run.study)}. A comparison that is decided, or within the margin, gets no more seeds. "
        "A config gets those of its comparison that goes on longest."
    )
    return Table(columns, list(_compared(run)), note)


def _compared(run: ExplanationView) -> Iterator[LookedComparison]:
    """Yield the steps of all paths, then what is left out; the last change of a path has a single comparison."""
    for change in run.changes:
        if change.raced_step is not None:
            yield LookedComparison(
                _label(run, f"step {change.position}: {change.name}", change.group), change.raced_step
            )
    for change in run.changes:
        if change.raced_left_out is not None and change.raced_left_out is not change.raced_step:
            yield LookedComparison(_label(run, f"best without {change.name}", change.group), change.raced_left_out)


def _label(run: ExplanationView, text: str, group: str) -> str:
    return f"{text} ({group})" if len(run.paths) > 1 else text


def _at_look(number: int) -> Callable[[LookedComparison], Cell]:
    """Return the cell of a comparison in the column of a look."""
    return lambda compared: look_cell(compared.raced.looks, number)


def _ended(run: ExplanationView, raced: RacedPair) -> Cell:
    planned = run.study.looks
    verdict = raced.row["verdict"]
    look = raced.row["look"]
    if raced.is_open:
        detail = f"next look: {planned[look]} seeds"
    elif verdict in _ENDED:
        detail = f"look {look}, {planned[look - 1]} seeds"
    else:
        detail = "at the last look"
    return Cell(verdicts.verdict_text(verdict), detail, verdict=verdict)


def _summary(run: ExplanationView) -> str:
    """Return the looks, how far they are, and what they have saved."""
    planned = run.study.looks
    waiting = sum(raced.is_open for raced in run.raced)
    sentences = [
        f"The explanation declared {rule_words.looks_text(run.study)} before its first cell.",
        "At each look only comparisons that are undecided get more seeds.",
    ]
    if not waiting:
        sentences.append("It has ended.")
    elif run.reached_look == 0:
        sentences.append("The first look has not ended.")
    else:
        count = formats.count(waiting, "comparison")
        sentences.append(
            f"Look {run.reached_look} of {len(planned)} is the last so far; {count} will be judged at "
            f"{planned[run.reached_look]} seeds."
        )
    if run.cells_saved:
        share = f"{100 * run.cells_saved / run.cells_of_last_look:.0f} %"
        when = "so far" if waiting else "in all"
        sentences.append(f"{run.cells_saved:,} of {run.cells_of_last_look:,} judging cells are saved {when} ({share}).")
    return " ".join(sentences)
