"""The process of one tracker: it reads messages from standard input and hands them to the tool.

    python -m raysearch.engine.trackers.process MODULE:CLASS FOLDER STUDY

A tool may print, hang, raise or die here; the sweep does not notice. An error that ends the process is one JSON line on
standard output. When the sweep is killed, its end of the pipe closes: what it had sent is still logged.
"""

import json
import os
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path

from raysearch.core import extensions, lock_file
from raysearch.engine.trackers import messages
from raysearch.engine.trackers.logged_cells import LoggedCells, digest
from raysearch.engine.trackers.tracker import Tracker
from raysearch.studies.configs import load_object

LOGGED = "logged_cells.db"
LOCK = "lock"


def open_tracker(implementation: str, folder: Path, study: str) -> Tracker:
    """Return a tracker.

    Args:
        implementation: `module:Class` of a registered tracker.
        folder: where its files go.
        study: the study's name.
    """
    extensions.load_from_environment()
    tracker: Tracker = load_object(implementation)(folder, study)
    return tracker


class MessageHandler:
    """Hands messages to a tracker, each step and each end once.

    Args:
        tracker: the tool.
        logged: what it has been given before.
    """

    def __init__(self, tracker: Tracker, logged: LoggedCells) -> None:
        self._tracker = tracker
        self._logged = logged

    def handle(self, message: messages.Message) -> None:
        """Hand a message on, unless the tracker had it before."""
        if isinstance(message, messages.StepMessage):
            self._log_step(message)
        else:
            self._log_end(message)

    def _log_step(self, message: messages.StepMessage) -> None:
        cell = message.cell
        # A step after a gap, as when the tracker is new to a cell that continues, is logged when the cell has ended.
        if message.step == self._logged.steps(cell.cell) + 1:
            self._logged.note_step(cell.cell, message.step)
            self._tracker.log_step(cell, message.step, message.values)

    def _log_end(self, message: messages.EndMessage) -> None:
        cell = message.cell
        outcome = message.outcome
        ended = digest(asdict(replace(outcome, verdict={})))
        known_end, known_verdict = self._logged.end(cell.cell)
        if known_end != ended:
            for step, values in enumerate(outcome.history, start=1):  # the last step, and what was missed
                self._log_step(messages.StepMessage(cell, step, values))
            self._tracker.finish(cell, outcome)
            self._logged.note_end(cell.cell, ended)
            known_verdict = None
        judged = digest(outcome.verdict)
        if outcome.verdict and known_verdict != judged:
            self._tracker.judge(cell, outcome)
            self._logged.note_end(cell.cell, ended, judged)


def main(implementation: str, folder: Path, study: str) -> None:
    """Log messages until standard input ends.

    The process of a sweep that was killed may still be writing, and two at a time would harm the tool's files.
    """
    with lock_file(folder / LOCK, create=True, wait=True):
        tracker = open_tracker(implementation, folder, study)
        handler = MessageHandler(tracker, LoggedCells(folder / LOGGED))
        try:
            for message in messages.read_messages(sys.stdin):
                handler.handle(message)
        finally:
            tracker.close()


if __name__ == "__main__":
    for signal_number in (signal.SIGINT, signal.SIGTERM):  # a sweep that stops closes the pipe
        signal.signal(signal_number, signal.SIG_IGN)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # tools print what they like
    try:
        main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    except BaseException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        answer.write(json.dumps({"error": reason}))
        answer.flush()
        os._exit(1)  # a thread of the tool may never end
    answer.flush()
    os._exit(0)
