"""A run directory that is being written, read again and again: only what changed is read, only news is made anew."""

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

from dashboards.live.results import outcome
from dashboards.live.status import doing
from raysearch.core.errors import UserError
from raysearch.runs import heartbeat, results
from raysearch.runs.heartbeat import Heartbeat

_YOUNG = 2.0  # seconds: a change within the same tick of the file system's clock leaves the time as it is
_ANYWAY = 30.0  # seconds after which a directory is read though its time stands still, as on some network drives
_BUSY = 20  # of the time, one part at most goes into tables, however long they have become
_Stamp = tuple[int, ...]


class Follower:
    """The state of the live page, from the run directory alone. Any thread may ask.

    Args:
        run_dir: a directory that `raysearch.sweep` writes, or wrote.

    Raises:
        UserError: not a run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._reader, self._lock = results.CellReader(run_dir / "cells"), threading.Lock()
        self._study = results.read_study(run_dir)
        self._ended: dict[str, Any] | None = None  # records of the cells; None before they were read
        self._outcome: dict[str, Any] = {}
        self._problem = ""
        self._study_stamp: _Stamp = ()
        self._cells_stamp: _Stamp = ()
        self._looked, self._made, self._took = -_ANYWAY, 0.0, 0.0  # by the monotonic clock
        self._heard: dict[str, tuple[float, float]] = {}  # process -> its last beat, and when that came
        self._state = b"", ""
        self._signature: object = None

    def state(self) -> tuple[bytes, str]:
        """The state as JSON, and a tag that two equal states share."""
        with self._lock:
            self._look()
            said = self._said()
            report = _stamp(self._run_dir / "report.html")
            quiet = self._quiet(said)
            signature = (id(self._outcome), self._problem, report, tuple(said), _steps(quiet))
            if signature != self._signature:
                found = self._outcome | doing(said, quiet, self._outcome)
                found |= {"problem": self._problem, "report": self._report(said, report)}
                body = json.dumps(found, allow_nan=False).encode()
                self._state, self._signature = (body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'), signature
            return self._state

    def _look(self) -> None:
        """Read what is new of the results, and make their part of the state anew where something is."""
        now = time.monotonic()
        if self._outcome and now - self._made < _BUSY * self._took:
            return
        study, cells = _stamp(self._run_dir / "study.json"), _stamp(self._run_dir / "cells")
        same = (study, cells) == (self._study_stamp, self._cells_stamp)
        if same and now - self._looked < _ANYWAY and not _young(study) and not _young(cells):
            return
        self._looked = now
        try:
            if study != self._study_stamp or _young(study):
                self._study = results.read_study(self._run_dir)
            ended = self._reader.read([one["cell"] for one in self._study.get("cells") or []])
            if study != self._study_stamp or ended != self._ended:  # records that are known are the same objects
                self._outcome = outcome(self._study, results.table(self._study, ended))
            self._ended, self._study_stamp, self._cells_stamp, self._problem = ended, study, cells, ""
        except UserError as error:
            self._problem = str(error)
            self._outcome = self._outcome or outcome(self._study.changed({"cells": []}), results.table(self._study, {}))
        self._made, self._took = time.monotonic(), time.monotonic() - now

    def _said(self) -> list[Heartbeat]:
        return heartbeat.read_heartbeats(self._run_dir)

    def _quiet(self, said: list[Heartbeat]) -> dict[str, float]:
        """Seconds for which each process that is not done has been silent.

        The clocks of two machines differ. So a process's clock is believed once, when it is first heard; from then on
        it is the time since its file last changed, by this machine's.
        """
        now, open_ = time.monotonic(), [one for one in said if not one.done]
        for one in open_:
            beat, _ = self._heard.get(one.key, (None, 0.0))
            if beat is None:
                self._heard[one.key] = one.beat, now - max(0.0, time.time() - one.beat)
            elif beat != one.beat:
                self._heard[one.key] = one.beat, now
        return {one.key: now - self._heard[one.key][1] for one in open_}

    def _report(self, said: list[Heartbeat], report: _Stamp) -> str:
        """What the link to the report says; empty where there is none."""
        if not report:
            return ""
        drawn = report[0] / 1e9
        begun = min((one.started for one in said), default=0.0)
        if drawn < begun:
            return f"Report of an earlier call, {time.strftime('%d %B, %H:%M', time.localtime(drawn))}"
        return f"Report, drawn at {time.strftime('%H:%M:%S', time.localtime(drawn))}"


def _steps(quiet: dict[str, float]) -> tuple[tuple[str, int], ...]:
    """Silences in steps of ten seconds, from the first that counts."""
    return tuple((key, int(seconds // 10)) for key, seconds in quiet.items() if seconds >= heartbeat.QUIET_SECONDS)


def _stamp(path: Path) -> _Stamp:
    """Time of the last change in nanoseconds, inode and size; empty where there is nothing."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ino, status.st_size


def _young(stamp: _Stamp) -> bool:
    return bool(stamp) and abs(time.time() - stamp[0] / 1e9) < _YOUNG
