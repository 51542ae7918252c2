"""A running sweep's sign of life: a small file in the run directory, written when something happened, and now and then.

A thread writes it, since the driver's own may wait minutes for a step. Nothing here can fail a sweep: on a disk that is
full the results say so, which are the record.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from raysearch.core.background import run_periodically
from raysearch.core.errors import UserError
from raysearch.runs import heartbeat
from raysearch.runs.heartbeat import BEAT_SECONDS, Stage

_INTERVAL = 1.5  # seconds between writings at least, however much happens
_FORGOTTEN = 600.0  # seconds after which a silent process's file is taken away by the next


class HeartbeatWriter:
    """Tells how a sweep is getting on. Use as a context.

    Args:
        run_dir: run directory.
        interval: seconds between writings at least.
    """

    def __init__(self, run_dir: Path, interval: float = _INTERVAL) -> None:
        self._run_dir, self._interval = run_dir, interval
        host = "".join(sign if sign.isalnum() or sign in ".-" else "-" for sign in socket.gethostname())
        now = time.time()
        self._told = heartbeat.Heartbeat(host.lstrip(".") or "host", os.getpid(), now, now, "starting")
        self._now: Callable[[], Stage] | None = None
        self._complete = True
        self._repetition = contextlib.ExitStack()

    def __enter__(self) -> "HeartbeatWriter":
        self._tidy()
        self._write("starting")
        self._repetition.enter_context(run_periodically(self._beat, self._interval))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._repetition.close()
        if error is None:
            self._write("ended" if self._complete else "stopped")
        elif isinstance(error, KeyboardInterrupt):
            self._write("stopped")
        else:
            words = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._write("failed", " ".join(words.split())[:500])

    def follow(self, now: Callable[[], Stage]) -> None:
        """Tell of this stage from now on."""
        self._now = now

    def stage_ended(self, complete: bool) -> None:
        """Note whether the stage came to its end, or the user stopped it."""
        self._complete = complete

    def _beat(self) -> None:
        stage = self._now() if self._now else None
        # Times run on by themselves: they alone are no news.
        news = _still(stage) != _still(self._told.stage)
        if news or time.time() - self._told.beat >= BEAT_SECONDS:
            self._write("running" if stage else "starting")

    def _write(self, state: str, error: str | None = None) -> None:
        stage = self._now() if self._now else None
        self._told = replace(self._told, beat=time.time(), state=state, error=error, stage=stage)
        with contextlib.suppress(OSError):
            heartbeat.write_heartbeat(self._run_dir, self._told)

    def _tidy(self) -> None:
        """Take away what processes left that are done, or silent for so long that they must be gone."""
        for one in heartbeat.read_heartbeats(self._run_dir):
            if one.done or time.time() - one.beat > _FORGOTTEN:
                with contextlib.suppress(OSError):
                    (self._run_dir / heartbeat.FOLDER / f"{one.key}.json").unlink()


def _still(stage: Stage | None) -> Stage | None:
    return replace(stage, seconds=0.0, seconds_left=None) if stage else None
