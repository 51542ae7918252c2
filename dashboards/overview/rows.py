"""One row per run of an overview: its question, answer, cells, cost and date, or the reason why it cannot be read."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dashboards.report
from dashboards.outcome import message
from raysearch.core import UserError, sanitize
from raysearch.messages import ResultMessage
from raysearch.runs import RunLocation, imported, results

_MOST_CHARACTERS = 300  # of a reason
_REPORT = "report.html"


@dataclass(frozen=True)
class RunRow:
    """A run.

    Attributes:
        name: of its folder.
        outcome: answer, cells and cost; None if it cannot be read.
        date: when it started; None if that is not known.
        report: its page on this machine; None if there is none.
        reason: why it cannot be read, in one line; empty if it can.
    """

    name: str
    outcome: ResultMessage | None = None
    date: datetime | None = None
    report: Path | None = None
    reason: str = ""


def read_rows(runs: Iterable[RunLocation]) -> list[RunRow]:
    """Read runs; the newest come first, and those without a date last, by name."""
    rows = sorted((read_row(run) for run in runs), key=lambda row: row.name)
    return sorted(rows, key=lambda row: -row.date.timestamp() if row.date else math.inf)


def read_row(run: RunLocation) -> RunRow:
    """Read a run. The report of a run in a store is drawn on this machine."""
    name = sanitize.one_line(run.directory.name)
    try:
        return _read(run)
    except (UserError, OSError) as error:
        reason = str(error)
    except Exception as error:  # a record from elsewhere may be wrong in any way, and the other runs are fine
        reason = f"it cannot be read: {type(error).__name__}: {error}"
    line = sanitize.one_line(" ".join(reason.split()))
    return RunRow(name, reason=line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}…")


def _read(run: RunLocation) -> RunRow:
    """Read a run.

    Raises:
        UserError: it is damaged, or no run of raysearch.
    """
    run.fetch()
    directory = run.directory
    if imported.is_foreign(directory):
        raise UserError("results of another tool; `raysearch report` with its path judges them")
    study = results.read_study(directory)
    table = results.load(directory)
    outcome = message.outcome(directory, str(run), table)
    if run.place is not None:
        dashboards.report.write(directory, table)
    report = directory / _REPORT
    return RunRow(
        sanitize.one_line(directory.name), outcome, _date(study.started), report if report.is_file() else None
    )


def _date(text: str | None) -> datetime | None:
    """Return when a run started; the record of an old run has no time, and one from elsewhere may hold any text."""
    try:
        return datetime.fromisoformat(text or "")
    except ValueError:
        return None
