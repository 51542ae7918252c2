"""Run checks one after the other within a time budget, and keep what each found; no exception is lost."""

import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch

Status = Literal["ok", "failed", "skipped"]


class Skipped(Exception):
    """A check cannot run here; the message gives the reason."""


@dataclass(frozen=True)
class Setting:
    """What all checks share."""

    device: torch.device
    quick: bool  # small sizes; no figure predicts anything
    ends: float  # of `time.monotonic`

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self.ends - time.monotonic()


class Result(NamedTuple):
    """The figures of a check, the most important ones first, and what is wrong; nothing is wrong where it is empty."""

    figures: Mapping[str, Any]
    problems: Sequence[str] = ()


class Check(NamedTuple):
    """A check, and the seconds that it needs on a GPU; it is skipped where fewer are left."""

    name: str
    seconds: float
    run: Callable[[Setting], Result]


@dataclass
class Outcome:
    """What became of a check."""

    name: str
    status: Status
    seconds: float
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()  # problems, or the reason of a skip


class Runner:
    """Runs checks, and ends the process at the end of the budget if a check hangs.

    Args:
        setting: of all checks.
        report: called with each outcome.
        finish: called once with all outcomes, also if a check hangs.
        leave: ends the process after that.
    """

    def __init__(
        self,
        setting: Setting,
        report: Callable[[Outcome], None],
        finish: Callable[[list[Outcome]], None],
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._setting = setting
        self._report = report
        self._finish = finish
        self._leave = leave
        self._lock = threading.Lock()
        self._running: tuple[str, float] | None = None
        self._finished = False

    def run(self, checks: Sequence[Check]) -> int:
        """Run the checks in order, and return the exit code: 1 where one failed."""
        timer = threading.Timer(max(0.1, self._setting.left), self._expire)
        timer.daemon = True
        timer.start()
        try:
            for check in checks:
                self._add(self._outcome(check))
        finally:
            timer.cancel()
        return self._end()

    def _outcome(self, check: Check) -> Outcome:
        started = time.monotonic()
        needed = 1.0 if self._setting.quick else check.seconds
        if self._setting.left < needed:
            return Outcome(
                check.name, "skipped", 0.0, notes=[f"{self._setting.left:.0f} s are left, {needed:.0f} needed"]
            )
        self._running = check.name, started
        try:
            result = check.run(self._setting)
        except Skipped as reason:
            return Outcome(check.name, "skipped", time.monotonic() - started, notes=[str(reason)])
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            lines = str(error).splitlines()
            note = f"{type(error).__name__}: {lines[0] if lines else ''}"
            return Outcome(check.name, "failed", time.monotonic() - started, notes=[note])
        status: Status = "failed" if result.problems else "ok"
        return Outcome(check.name, status, time.monotonic() - started, result.figures, list(result.problems))

    def _add(self, outcome: Outcome) -> None:
        with self._lock:
            self._running = None
            self.outcomes.append(outcome)
            self._report(outcome)

    def _expire(self) -> None:
        """End the process with what there is: the running check hangs, or is slower than expected."""
        if self._running is not None:
            name, started = self._running
            elapsed = time.monotonic() - started
            self._add(
                Outcome(name, "failed", elapsed, notes=[f"unfinished at the end of the time, after {elapsed:.0f} s"])
            )
        self._leave(self._end())

    def _end(self) -> int:
        with self._lock:
            if not self._finished:
                self._finished = True
                self._finish(self.outcomes)
        return int(any(outcome.status == "failed" for outcome in self.outcomes))
