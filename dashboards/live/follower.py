"""Follow a run directory while it is written: only changed files are read, and only changed parts are recomputed."""

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

from dashboards import report
from dashboards.live.status import process_state
from raysearch.core import UserError
from raysearch.runs import Heartbeat, heartbeat, results

_CLOCK_TICK = 2.0  # seconds; two changes within one tick of the file system's clock may have the same time
_REREAD_SECONDS = 30.0  # a directory is read again after this time, since some network drives do not update its time
_IDLE_FACTOR = 20  # after computing results for t seconds, wait at least 20 t seconds
_Stamp = tuple[int, ...]


class RunFollower:
    """The state of the live page, from the run directory alone. Safe to use from several threads.

    Args:
        run_dir: a directory that `raysearch.sweep` writes or wrote.

    Raises:
        UserError: not a run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._reader = results.CellReader(run_dir / "cells")
        self._lock = threading.Lock()
        self._study = results.read_study(run_dir)
        self._cells: dict[str, Any] | None = None  # ended cells; None before the first reading
        self._results: dict[str, Any] = {}
        self._problem = ""
        self._study_stamp: _Stamp = ()
        self._cells_stamp: _Stamp = ()
        self._read_time = -_REREAD_SECONDS  # this and the next by the monotonic clock
        self._computed_time = 0.0
        self._computing_seconds = 0.0
        self._last_beats: dict[str, tuple[float, float]] = {}  # process -> its last beat, and when it arrived here
        self._state = b"", ""
        self._signature: object = None

    def state(self) -> tuple[bytes, str]:
        """Return the state as JSON, and a tag that is equal for equal states."""
        with self._lock:
            self._update_results()
            heartbeats = heartbeat.read_heartbeats(self._run_dir)
            report = _stamp(self._run_dir / "report.html")
            quiet = self._quiet_seconds(heartbeats)
            signature = (id(self._results), self._problem, report, tuple(heartbeats), _rounded(quiet))
            if signature != self._signature:
                state = self._results | process_state(heartbeats, quiet, self._results)
                state |= {"problem": self._problem, "report": _report_link(heartbeats, report)}
                body = json.dumps(state, allow_nan=False).encode()
                self._state = body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
                self._signature = signature
            return self._state

    def _update_results(self) -> None:
        """Read new results, and recompute their part of the state if there are any."""
        now = time.monotonic()
        if self._results and now - self._computed_time < _IDLE_FACTOR * self._computing_seconds:
            return
        study_stamp = _stamp(self._run_dir / "study.json")
        cells_stamp = _stamp(self._run_dir / "cells")
        unchanged = (study_stamp, cells_stamp) == (self._study_stamp, self._cells_stamp)
        recent = _is_recent(study_stamp) or _is_recent(cells_stamp)
        if unchanged and not recent and now - self._read_time < _REREAD_SECONDS:
            return
        self._read_time = now
        try:
            if study_stamp != self._study_stamp or _is_recent(study_stamp):
                self._study = results.read_study(self._run_dir)
            cells = self._reader.read([cell.cell for cell in self._study.cells])
            if study_stamp != self._study_stamp or cells != self._cells:  # known records are the same objects
                self._results = report.live_state(self._study, results.table(self._study, cells))
            self._cells = cells
            self._study_stamp = study_stamp
            self._cells_stamp = cells_stamp
            self._problem = ""
        except UserError as error:
            self._problem = str(error)
            if not self._results:
                self._results = report.live_state(self._study.changed({"cells": []}), results.table(self._study, {}))
        self._computed_time = time.monotonic()
        self._computing_seconds = self._computed_time - now

    def _quiet_seconds(self, heartbeats: list[Heartbeat]) -> dict[str, float]:
        """Return the seconds since the last sign of each process that is not done.

        The clocks of two machines differ. A process's own clock is therefore used only for its first beat; after that,
        this machine's clock measures the time since the beat last changed.
        """
        now = time.monotonic()
        unfinished = [beat for beat in heartbeats if not beat.done]
        for beat in unfinished:
            last_beat, _ = self._last_beats.get(beat.key, (None, 0.0))
            if last_beat is None:
                self._last_beats[beat.key] = beat.beat, now - max(0.0, time.time() - beat.beat)
            elif last_beat != beat.beat:
                self._last_beats[beat.key] = beat.beat, now
        return {beat.key: now - self._last_beats[beat.key][1] for beat in unfinished}


def _report_link(heartbeats: list[Heartbeat], report: _Stamp) -> str:
    """Return the text of the link to the report; empty if there is no report."""
    if not report:
        return ""
    written = report[0] / 1e9
    started = min((beat.started for beat in heartbeats), default=0.0)
    if written < started:
        return f"Report of an earlier sweep, {time.strftime('%d %B, %H:%M', time.localtime(written))}"
    return f"Report, written at {time.strftime('%H:%M:%S', time.localtime(written))}"


def _rounded(quiet: dict[str, float]) -> tuple[tuple[str, int], ...]:
    """Return silences in steps of ten seconds, without those too short to matter."""
    long = {key: seconds for key, seconds in quiet.items() if seconds >= heartbeat.QUIET_SECONDS}
    return tuple((key, int(seconds // 10)) for key, seconds in long.items())


def _stamp(path: Path) -> _Stamp:
    """Return the time of the last change in nanoseconds, the inode and the size; empty if the path does not exist."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ino, status.st_size


def _is_recent(stamp: _Stamp) -> bool:
    return bool(stamp) and abs(time.time() - stamp[0] / 1e9) < _CLOCK_TICK
