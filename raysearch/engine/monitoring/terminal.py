"""The view in the terminal while a study runs: counts, speed, running cells, failures, and the table so far."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raysearch.core import format_seconds
from raysearch.engine.monitoring.counters import ProgressCounter
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.runs import Note, Stage

_LINE_INTERVAL = 15.0  # seconds between lines without a terminal
_TABLE_INTERVAL = 2.0  # seconds between tables in a terminal; a table reads all cells
_TABLE_SHARE = 20  # a table takes at most this part of the time
_MAX_RUNNING = 8  # cells with a line of their own
_MAX_FAILURES = 3
_MAX_REASON = 160  # characters of the reason of a retry
_BAR_WIDTH = 12  # columns of a running cell's bar
_LEAST_NAME = 16  # columns of a running cell's name, before its bar is left out
_STEP_WIDTH = 6  # columns of a running cell's step


class TerminalView(Listener):
    """A view that is redrawn in a terminal; elsewhere a line now and then. Use it as a context.

    Fast changes and failures are above the table, because a low terminal cuts off the end.

    Args:
        counter: counts the cells. It must hear of each event before this view.
        table: draws the results so far.
        console: where to draw.
        hold: returns whether failures are to wait, because the next may end the study with an error for all of them.
    """

    def __init__(
        self,
        counter: ProgressCounter,
        table: Callable[[], RenderableType],
        console: Console,
        hold: Callable[[], bool] = lambda: False,
    ) -> None:
        self._counter = counter
        self._table = table
        self._console = console
        self._hold = hold
        self._held: list[Note] = []  # failures that wait
        self._drawn: RenderableType = ""
        self._draw_seconds = 0.0  # of the last table
        self._printed = time.monotonic()
        self._is_drawn = console.is_terminal and not console.is_dumb_terminal  # a dumb one cannot go back up
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "TerminalView":
        if self._is_drawn:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        in_error = kind is not None and self._hold()
        if self._is_drawn:
            self._live.stop()  # clears the view; failures are printed to stay
            for note in () if in_error else self._counter.snapshot().failures:
                self._console.print(_failed(note), soft_wrap=True)
        elif not in_error:
            self._print_failures()

    def started(self, job: Job) -> None:
        """Print a line of progress if one is due and the output is not a terminal."""
        self._print_line()

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        """Print a line of progress if one is due and the output is not a terminal."""
        self._print_line()

    def retried(self, job: Job, reason: str) -> None:
        """Print the cell and the end of the reason."""
        self._console.print(Text.assemble(("again", "yellow"), f" {job.name}: {reason[-_MAX_REASON:]}"), soft_wrap=True)

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Print a failure, and draw the table of results again in a terminal if the last drawing is old enough."""
        if record["status"] == "failed" and not self._is_drawn:
            self._held.append(Note(job.name, str(record["error"])))
        if not self._hold():
            self._print_failures()
        now = time.monotonic()
        # A table of many cells takes a while, and must not take much of the driver's time.
        if self._is_drawn and now - self._printed > max(_TABLE_INTERVAL, _TABLE_SHARE * self._draw_seconds):
            self._drawn = self._table()
            self._printed = time.monotonic()
            self._draw_seconds = self._printed - now
        self._print_line()

    def _print_failures(self) -> None:
        for note in self._held:
            self._console.print(_failed(note), soft_wrap=True)
        self._held.clear()

    def _print_line(self) -> None:
        """Print a line now and then if there is no live view."""
        now = time.monotonic()
        if not self._is_drawn and now - self._printed > _LINE_INTERVAL:
            self._printed = now
            self._console.print(format_progress(self._counter.snapshot()))

    def _render(self) -> RenderableType:
        stage = self._counter.snapshot()
        width = self._console.width
        parts: list[RenderableType] = [
            _bar(stage.ended, stage.total, min(60, width)),
            _folded(format_progress(stage), "bold"),
            *([_folded(format_speed(stage))] if format_speed(stage) else []),
            _running(stage, width),
            *(_failed(replace(note, text=shorten(note.text, 2 * width))) for note in stage.failures[-_MAX_FAILURES:]),
        ]
        return Group(*parts, self._drawn)


def format_progress(stage: Stage) -> str:
    """Return a line of counts and times.

    >>> format_progress(Stage("cells", 9, before=2, finished=3, failed=1, seconds=75.0, seconds_left=38.0))
    '6 of 9 cells ended · 0 running · 1 failed · 1 min 15 s so far · about 38 s left'
    >>> format_progress(Stage("cells", 9, finished=2, seconds=9.0, metric="map", metric_mean=0.5, metric_best=0.51234))
    '2 of 9 cells ended · 0 running · map 0.5 on average, 0.5123 at best · 9 s so far'
    """
    parts = [f"{stage.ended} of {stage.total} {stage.name} ended", f"{len(stage.running)} running"]
    counts = {"stopped early": stage.stopped, "failed": stage.failed, "retried": stage.retried}
    parts += [f"{count} {event}" for event, count in counts.items() if count]
    if stage.metric_mean is not None:
        parts.append(f"{stage.metric} {stage.metric_mean:.4g} on average, {stage.metric_best:.4g} at best")
    parts.append(f"{format_seconds(round(stage.seconds))} so far")
    if stage.seconds_left is not None:
        parts.append(f"about {format_seconds(round(stage.seconds_left))} left")
    return " · ".join(parts)


def format_speed(stage: Stage) -> str:
    """Return the speed, wait and memory of the running cells; empty before the first report."""
    parts = []
    if stage.images_per_second is not None:
        parts.append(f"{stage.images_per_second:,.0f} images/s in all")
    if stage.feed_wait_share is not None:
        parts.append(f"{100 * stage.feed_wait_share:.0f} % of the time waiting for images")
    if stage.gpu_memory_bytes is not None:
        parts.append(f"{stage.gpu_memory_bytes / 2**30:.1f} GiB of GPU memory")
    return " · ".join(parts)


def shorten(text: str, width: int) -> str:
    """Return a text without its middle if it is too long. A cell's name ends with its seed, which must stay.

    >>> shorten("srem.regions=50, srem.size=64 seed 3", 20)
    'srem.region...seed 3'
    """
    if len(text) <= width:
        return text
    if width < 8:
        return text[len(text) - max(width, 1) :]
    head = (width - 3) * 2 // 3
    tail = width - 3 - head
    return f"{text[:head]}...{text[len(text) - tail :]}"


def _running(stage: Stage, width: int) -> Table:
    """Return one line per running cell: its progress and its name."""
    cells = stage.running[:_MAX_RUNNING]
    steps = [(f"{cell.step}/{cell.steps}" if cell.steps else "begins").rjust(_STEP_WIDTH) for cell in cells]
    room = width - max(map(len, steps), default=0) - 2
    has_bars = room - _BAR_WIDTH - 1 >= _LEAST_NAME  # a narrow terminal keeps the names
    room -= (_BAR_WIDTH + 1) * has_bars
    rows = Table.grid(padding=(0, 1))
    for _ in range(2 + has_bars):
        rows.add_column(no_wrap=True)
    for cell, step in zip(cells, steps, strict=True):
        bars: list[RenderableType] = [_bar(cell.share, 1.0, _BAR_WIDTH)] if has_bars else []
        rows.add_row(*bars, Text(step, style="dim"), Text(shorten(cell.name, room)))
    hidden = len(stage.running) - _MAX_RUNNING
    if hidden > 0:
        rows.add_row(*[""] * (1 + has_bars), Text(f"and {hidden} more", style="dim"))
    return rows


def _bar(done: float, total: float, width: int) -> Table:
    """Return a bar on a line of its own; rich's does not end its line."""
    row = Table.grid()
    row.add_row(ProgressBar(total=max(total, 1e-9), completed=done, width=width))
    return row


def _folded(text: str, style: str = "") -> Text:
    """Return a text that wraps in a narrow terminal, whatever the console's default."""
    return Text(text, style=style, no_wrap=False, overflow="fold")


def _failed(note: Note) -> Text:
    text = _folded("")
    return text.append("failed", "red").append(f" {note.name}: {note.text}")
