"""What a person sees in the terminal while a study runs: counts, speed, what runs, what failed, the table so far."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raysearch.core.durations import format_seconds
from raysearch.engine.monitoring.counters import ProgressCounter
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.runs.heartbeat import Note, Stage

_QUIET_INTERVAL = 15.0  # seconds between lines where there is no terminal
_TABLE_INTERVAL = 2.0  # seconds between tables where there is one; a table reads all cells
_MOST_RUNNING = 8  # cells with a line of their own
_MOST_FAILURES = 3
_BAR, _STEP = 12, 6  # columns of a running cell's bar and of its step


class TerminalView(Listener):
    """A view that is drawn again in a terminal, and lines now and then elsewhere. Use as a context.

    What changes fast and what went wrong stands above the table: a terminal that is too low cuts off the end.

    Args:
        tally: counts what goes on, and is told of it before this.
        table: draws what came out so far.
        console: where to draw.
    """

    def __init__(self, tally: ProgressCounter, table: Callable[[], RenderableType], console: Console) -> None:
        self._tally, self._table, self._console = tally, table, console
        self._drawn: RenderableType = ""
        self._drawing = 0.0  # seconds that the last table took
        self._printed = time.monotonic()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "TerminalView":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()  # which takes it away; failures are to stay
            for note in self._tally.snapshot().failures:
                self._console.print(_failed(note), soft_wrap=True)

    def started(self, job: Job) -> None:
        self._tell()

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        self._tell()

    def retried(self, job: Job, reason: str) -> None:
        self._console.print(Text.assemble(("again", "yellow"), f" {job.name}: {reason[-160:]}"), soft_wrap=True)

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        if record["status"] == "failed" and not self._console.is_terminal:
            self._console.print(_failed(Note(job.name, str(record["error"]))), soft_wrap=True)
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
            self._console.print(format_progress(self._tally.snapshot()), highlight=False)

    def _render(self) -> RenderableType:
        stage, width = self._tally.snapshot(), self._console.width
        parts: list[RenderableType] = [
            _bar(stage.ended, stage.total, min(60, width)),
            _folded(format_progress(stage), "bold"),
            *([_folded(format_speed(stage))] if format_speed(stage) else []),
            _running(stage, width),
            *(_failed(replace(note, text=shorten(note.text, 2 * width))) for note in stage.failures[-_MOST_FAILURES:]),
        ]
        return Group(*parts, self._drawn)


def format_progress(stage: Stage) -> str:
    """Counts and times.

    >>> line(Stage("cells", 9, before=2, finished=3, failed=1, seconds=75.0, seconds_left=38.0))
    '6 of 9 cells ended · 0 running · 1 failed · 1 min 15 s so far · about 38 s left'
    """
    parts = [f"{stage.ended} of {stage.total} {stage.name} ended", f"{len(stage.running)} running"]
    counts = {"stopped early": stage.stopped, "failed": stage.failed, "retried": stage.retried}
    parts += [f"{count} {what}" for what, count in counts.items() if count]
    parts.append(f"{format_seconds(round(stage.seconds))} so far")
    if stage.seconds_left is not None:
        parts.append(f"about {format_seconds(round(stage.seconds_left))} left")
    return " · ".join(parts)


def format_speed(stage: Stage) -> str:
    """What the running cells do with the machine; empty before the first has said so."""
    parts = []
    if stage.images_per_second is not None:
        parts.append(f"{stage.images_per_second:,.0f} images/s in all")
    if stage.feed_wait_share is not None:
        parts.append(f"{100 * stage.feed_wait_share:.0f} % of the time waiting for images")
    if stage.gpu_memory_bytes is not None:
        parts.append(f"{stage.gpu_memory_bytes / 2**30:.1f} GiB of GPU memory")
    return " · ".join(parts)


def shorten(text: str, width: int) -> str:
    """A text with its middle left out where it is too long: names of cells end with their seed.

    >>> fit("srem.regions=50, srem.size=64 seed 3", 20)
    'srem.region...seed 3'
    """
    left = (width - 3) * 2 // 3
    return text if len(text) <= width else f"{text[:left]}...{text[len(text) - (width - 3 - left) :]}"


def _running(stage: Stage, width: int) -> Table:
    """A line a running cell: how far it is, and its name."""
    rows = Table.grid(padding=(0, 1))
    for _ in range(3):
        rows.add_column(no_wrap=True)
    for one in stage.running[:_MOST_RUNNING]:
        step = f"{one.step}/{one.steps}" if one.steps else "begins"
        name = shorten(one.name, width - _BAR - len(step.rjust(_STEP)) - 3)
        rows.add_row(_bar(one.share, 1.0, _BAR), Text(step.rjust(_STEP), style="dim"), Text(name))
    left = len(stage.running) - _MOST_RUNNING
    if left > 0:
        rows.add_row("", "", Text(f"and {left} more", style="dim"))
    return rows


def _bar(done: float, total: float, width: int) -> Table:
    """A bar on a line of its own: rich's ends none."""
    line = Table.grid()
    line.add_row(ProgressBar(total=max(total, 1e-9), completed=done, width=width))
    return line


def _folded(text: str, style: str = "") -> Text:
    """A text that takes more lines where the terminal is narrow, whatever the console's habit is."""
    return Text(text, style=style, no_wrap=False, overflow="fold")


def _failed(note: Note) -> Text:
    text = _folded("")
    return text.append("failed", "red").append(f" {note.name}: {note.text}")
