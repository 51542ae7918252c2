"""What a person sees while a study runs: cells by status, the table so far, the time left."""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from raysearch.engine.jobs import Job, Listener

_QUIET_INTERVAL = 15.0  # seconds between lines where there is no terminal
_TABLE_INTERVAL = 2.0  # seconds between tables where there is one; a table reads all cells


class LiveView(Listener):
    """A view that is drawn again in a terminal, and lines now and then elsewhere. Use as a context.

    Args:
        total: cells of the plan.
        done: cells that had ended before.
        slots: trials at a time.
        table: draws what came out so far.
        console: where to draw.
    """

    def __init__(
        self,
        total: int,
        done: int,
        slots: Callable[[], int],
        table: Callable[[], RenderableType],
        console: Console,
    ) -> None:
        self._total, self._before, self._slots, self._table = total, done, slots, table
        self._console = console
        self._progress: dict[str, float] = {}  # running cells: share done
        self._finished, self._failed, self._stopped, self._retried, self._seconds = 0, 0, 0, 0, 0.0
        self._names: dict[str, str] = {}
        self._drawn: RenderableType = ""
        self._drawing = 0.0  # seconds that the last table took
        self._started = self._printed = time.monotonic()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "LiveView":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def started(self, job: Job) -> None:
        self._progress[job.cell], self._names[job.cell] = 0.0, job.name
        self._tell()

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        self._progress[job.cell], self._names[job.cell] = report["iteration"] / max(1, steps), job.name
        self._tell()

    def retried(self, job: Job, reason: str) -> None:
        self._retried += 1
        self._console.print(f"[yellow]again[/yellow] {job.name}: {reason[-160:]}", highlight=False)

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        self._progress.pop(job.cell, None)
        if record["status"] == "finished":
            self._finished += 1
            self._seconds += record["seconds"]
        elif record["status"] == "stopped":
            self._stopped += 1
            self._seconds += record["seconds"]
        else:
            self._failed += 1
            self._console.print(f"[red]failed[/red] {job.name}: {record['error']}", highlight=False)
        now = time.monotonic()
        # A table of many cells takes a while; it may never take more than a twentieth of the time.
        if self._console.is_terminal and now - self._printed > max(_TABLE_INTERVAL, 20 * self._drawing):
            self._drawn = self._table()
            self._printed, self._drawing = time.monotonic(), time.monotonic() - now
        self._tell()

    def _tell(self) -> None:
        """A line where nobody can see the live view."""
        now = time.monotonic()
        if not self._console.is_terminal and now - self._printed > _QUIET_INTERVAL:
            self._printed = now
            self._console.print(self._line(), highlight=False)

    def _render(self) -> RenderableType:
        running = ", ".join(f"{self._names[cell]} {share:.0%}" for cell, share in self._progress.items())
        return Group(self._drawn, Text(self._line()), Text(running, style="dim"))

    def _line(self) -> str:
        ended = self._before + self._ended()
        parts = [f"{ended} of {self._total} cells ended", f"{len(self._progress)} running"]
        counts = {"stopped early": self._stopped, "failed": self._failed, "retried": self._retried}
        parts += [f"{count} {what}" for what, count in counts.items() if count]
        parts.append(f"{duration(time.monotonic() - self._started)} so far")
        left = self._time_left()
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return " · ".join(parts)

    def _time_left(self) -> float | None:
        if not self._finished:
            return None
        waiting = self._total - self._before - self._ended()
        done = sum(self._progress.values())
        mean = self._seconds / (self._finished + self._stopped)
        return max(0.0, waiting - done) * mean / self._slots()

    def _ended(self) -> int:
        return self._finished + self._stopped + self._failed


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> [duration(s) for s in (8, 75, 7300)]
    ['8 s', '1 min 15 s', '2 h 01 min']
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"
