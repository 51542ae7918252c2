"""A tracker's process, as a sweep sees it: messages are queued, and whatever goes wrong is one sentence.

A thread hands the queue to the process. Neither a slow nor a dead tracker holds up the sweep.
"""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path

from raysearch.engine.trackers import messages
from raysearch.engine.trackers.registry import TRACKERS

_MAX_QUEUE = 100_000  # messages; more than a tracker that still works falls behind


class TrackerProcess:
    """A running tracker.

    Args:
        name: in the registry.
        folder: of its files.
        study: the study's name.
    """

    def __init__(self, name: str, folder: Path, study: str) -> None:
        self.name = name
        self.log = folder / "tracker.log"
        self._queue: queue.Queue[str | None] = queue.Queue(_MAX_QUEUE)
        self._problem: str | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self.log.open("wb") as log:
                self._process: subprocess.Popen[str] | None = subprocess.Popen(
                    _command(name, folder, study),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,  # Ctrl-C is for the sweep
                )
        except OSError as error:
            self._process = None
            self._problem = f"{error.strerror or error}: '{error.filename or folder}'"
            return
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """Why the tracker does not work any more, in one line; None while it does."""
        return self._problem

    def send(self, message: messages.Message) -> None:
        """Queue a message. It is dropped once the tracker does not work any more."""
        if self._problem is None:
            try:
                self._queue.put_nowait(messages.encode(message))
            except queue.Full:
                self._problem = f"it is {_MAX_QUEUE:,} messages behind"

    def close(self, seconds: float) -> None:
        """Wait until everything is logged, and end the process.

        Args:
            seconds: how long to wait. Afterwards the process is killed.
        """
        if self._process is None:
            return
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._process.kill()
            self._thread.join()
            self._problem = f"it was not done after {seconds:.0f} s"

    def _feed(self) -> None:
        """Hand the queue to the process, then wait for its end. An end with an error, or too early, is the problem."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError), self._process.stdin as pipe:  # a process that has ended explains it below
            while (line := self._queue.get()) is not None:
                pipe.write(f"{line}\n")
                pipe.flush()
        answer = self._process.stdout.read()
        code = self._process.wait()
        if code:
            self._problem = _reason(answer, code)


def _command(name: str, folder: Path, study: str) -> list[str]:
    module = "raysearch.engine.trackers.process"
    return [sys.executable, "-m", module, TRACKERS[name].implementation, str(folder), study]


def _reason(answer: str, code: int) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(answer)["error"])
    return f"its process ended with code {code}"
