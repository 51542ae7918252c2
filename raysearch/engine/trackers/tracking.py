"""The trackers of a sweep: a listener hands them every step and end, and at the end they get what is missing.

The run directory is the record. After the last cell its ended cells are handed over again, now with the verdicts. A
tracker drops what it had before. So a tracker that is added later, or that missed cells of an interrupted sweep, is
complete in the end.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from raysearch.core import UserError, refuse_link
from raysearch.engine.options import Run
from raysearch.engine.trackers import messages
from raysearch.engine.trackers.registry import TRACKERS
from raysearch.engine.trackers.tracker import Outcome, TrackedCell
from raysearch.engine.trackers.tracker_process import TrackerProcess
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.runs import results
from raysearch.studies.configs import TASKS, paths

FOLDER = "trackers"  # in the run directory; below it one folder per tracker
PATIENCE = 120.0  # seconds that a sweep waits for its trackers at the end
_ERROR_PATIENCE = 5.0  # the same after an error

_TIMES = ("seconds", "gpu_seconds", "epochs", "epoch_seconds", "attempts")


class Tracking(Listener):
    """Hands cells to trackers. None of its methods raises because of a tracker.

    Args:
        run: the run that is tracked.
        trackers: they get every message.
        console: a tracker that stops working is reported here, once.
    """

    def __init__(self, run: Run, trackers: Sequence[TrackerProcess], console: Console) -> None:
        self._run = run
        self._trackers = list(trackers)
        self._console = console

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        """Hand on a step of a cell."""
        step = report.get("iteration")
        if isinstance(step, int):  # otherwise its place is known when the cell has ended
            self._send(messages.StepMessage(self._cell(job), step, _curve_point(report)))

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Hand on the end of a cell."""
        self._send(messages.EndMessage(self._cell(job), _outcome(record)))

    def complete(self) -> None:
        """Hand on every ended cell of the run, with the verdict on its variant, unless a tracker has it already."""
        from raysearch.engine.trackers.verdicts import judge_variants  # imports plotly, which a dry run does not need

        run = self._run
        if not self._trackers:
            return
        try:
            ended = results.read_cells(run.cells, [cell.cell for cell in run.record.cells])
            verdicts = judge_variants(run.record, ended)
        except UserError as error:
            self._console.print(f"trackers got no verdicts: {error}", style="yellow", markup=False)
            return
        for cell in run.record.cells:
            row = ended.get(cell.cell)
            if row is not None:
                config = paths.flatten(json.loads(row.get("config") or "{}"))
                tracked_cell = TrackedCell(cell.cell, run.record.study, cell.variant, cell.seed, config)
                self._send(messages.EndMessage(tracked_cell, _outcome(row, verdicts.get(cell.variant, {}))))

    def close(self, seconds: float) -> None:
        """Wait until the trackers have logged everything, each at most that long."""
        for tracker in self._trackers:
            tracker.close(seconds)
        self._report_problems()

    def _send(self, message: messages.Message) -> None:
        for tracker in self._trackers:
            tracker.send(message)
        self._report_problems()

    def _report_problems(self) -> None:
        for tracker in [tracker for tracker in self._trackers if tracker.problem]:
            self._trackers.remove(tracker)
            tracker.close(0.0)
            self._console.print(
                f"tracker {tracker.name} is off: {tracker.problem}; the study goes on without it, and the same command "
                f"adds what is missing; details: {tracker.log}",
                style="yellow",
                markup=False,
            )

    def _cell(self, job: Job) -> TrackedCell:
        config = TASKS[job.config["task"]].config.model_validate(job.config).canonical()
        return TrackedCell(job.cell, self._run.record.study, job.variant, job.seed, paths.flatten(config))


@contextlib.contextmanager
def tracked(run: Run, names: Sequence[str], console: Console, patience: float = PATIENCE) -> Iterator[Tracking]:
    """Start the trackers of a run; at the end, complete and close them.

    Args:
        run: the run that is tracked.
        names: of trackers, as `check_trackers` returns them.
        console: messages go here.
        patience: seconds to wait for each tracker at the end.

    Raises:
        UserError: the folder of the trackers is a link that leads out of the run directory.
    """
    top = refuse_link(run.directory, FOLDER).resolve()
    trackers = [TrackerProcess(name, top / name, run.record.study) for name in names]
    for name in names:
        follow = TRACKERS[name].follow.format(folder=_shown(top / name), study=run.record.study)
        console.print(f"logged to {name}: {follow}", markup=False)
    tracking = Tracking(run, trackers, console)
    try:
        yield tracking
        tracking.complete()
    except BaseException:
        patience = min(patience, _ERROR_PATIENCE)  # the user may have asked to stop now
        raise
    finally:
        tracking.close(patience)


def _shown(folder: Path) -> str:
    """Return a path as a person in the current directory writes it."""
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)


def _curve_point(report: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in messages.numbers_of(report).items() if name != "iteration"}


def _outcome(record: Mapping[str, Any], verdict: Mapping[str, Any] | None = None) -> Outcome:
    """Return the end of a cell, from its row of the results."""
    ids = json.loads(record.get("metric_ids") or "{}")
    metrics = messages.numbers_of({name: record.get(name) for name in (*ids, *_TIMES)})
    history = [_curve_point(step) for step in json.loads(record.get("history") or "[]")]
    return Outcome(record["status"], record.get("error"), metrics, history, dict(verdict or {}))
