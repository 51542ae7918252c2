"""The live view: what it counts and says, drawn into a string."""

import io
import math
import re
import time
from typing import Any

import pytest
from rich.console import Console

from raysearch.engine.monitoring import terminal as monitoring_terminal
from raysearch.engine.monitoring.counters import ProgressCounter
from raysearch.engine.trials.jobs import Job, ListenerList, Objective

JOBS = [Job(f"cell{i}", f"variant {i} seed 0", {}, 0) for i in range(4)]


def record(status: str, seconds: float = 10.0) -> dict[str, Any]:
    return {"status": status, "seconds": seconds, "error": "planted" if status == "failed" else None}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, which stands still unless a test moves it."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


class Seen(ListenerList):
    """A tally and the view of it, told together."""

    def __init__(self, console: Console, slots: list[int]) -> None:
        tally = ProgressCounter(6, 2, lambda: slots[0])
        self.view = monitoring_terminal.TerminalView(tally, lambda: "the table", console)
        super().__init__(tally, self.view)


def view(terminal: bool, slots: list[int] | None = None, width: int = 120) -> tuple[Seen, Console]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, height=50)
    return Seen(console, slots or [2]), console


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def last_line(live: Seen, console: Console, now: list[float], job: Job) -> str:
    """What a log says next, a minute later."""
    now[0] += 60
    live.stepped(job, {"iteration": 2}, 4)
    return text(console).strip().splitlines()[-1]


@pytest.mark.parametrize(("mode", "best"), [("max", "0.75"), ("min", "0.25")])
def test_the_metric_so_far_is_that_of_finished_cells(mode: str, best: str, now: list[float]) -> None:
    counter = ProgressCounter(9, 0, lambda: 1, objective=Objective("map", mode))
    assert "average" not in monitoring_terminal.format_progress(counter.snapshot())
    for job, value in zip(JOBS, (0.25, 0.75, 0.5, math.nan), strict=True):
        counter.ended(job, record("finished") | {"map": value})
    counter.ended(JOBS[0], record("failed") | {"map": 9.0})
    counter.ended(JOBS[0], record("stopped") | {"map": 9.0})
    assert f"map 0.5 on average, {best} at best" in monitoring_terminal.format_progress(counter.snapshot())


def test_failures_and_retries_are_named(now: list[float]) -> None:
    live, console = view(False)
    with live.view:
        live.started(JOBS[0])
        live.retried(JOBS[0], "the worker died")
        live.ended(JOBS[0], record("failed"))
        live.started(JOBS[1])
        live.ended(JOBS[1], record("finished"))
    assert text(console).splitlines() == ["again variant 0 seed 0: the worker died", "failed variant 0 seed 0: planted"]


def test_the_line_counts_cells_and_estimates_what_is_left(now: list[float]) -> None:
    live, console = view(False)
    live.started(JOBS[0])
    live.started(JOBS[1])
    live.ended(JOBS[0], record("finished", 30.0))
    # Three cells have not ended, one of them is half done: 2.5 cells of 30 s on two slots.
    line = "3 of 6 cells ended · 1 running · 1 min 00 s so far · about 38 s left"
    assert last_line(live, console, now, JOBS[1]) == line


def test_every_way_to_end_is_counted_apart(now: list[float]) -> None:
    live, console = view(False)
    for job, status in zip(JOBS, ("finished", "stopped", "failed"), strict=False):
        live.started(job)
        live.retried(job, "the worker died")
        live.ended(job, record(status, 20.0 if status == "finished" else 10.0))
    # One cell is left, half of it done; one that may be stopped early takes 15 s, as those before did; a failed one
    # says nothing of what a cell takes.
    line = (
        "5 of 6 cells ended · 1 running · 1 stopped early · 1 failed · 3 retried · 1 min 00 s so far · about 4 s left"
    )
    live.started(JOBS[3])
    assert last_line(live, console, now, JOBS[3]) == line


def test_the_time_left_follows_the_nodes(now: list[float]) -> None:
    slots = [2]
    live, console = view(False, slots)
    live.started(JOBS[0])
    live.ended(JOBS[0], record("finished", 60.0))
    live.started(JOBS[1])
    assert last_line(live, console, now, JOBS[1]).endswith("about 1 min 15 s left")
    slots[0] = 5
    assert last_line(live, console, now, JOBS[1]).endswith("about 30 s left")


def test_a_terminal_sees_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring_terminal, "_TABLE_INTERVAL", -1.0)
    live, console = view(True)
    with live.view:
        live.started(JOBS[0])
        live.ended(JOBS[0], record("finished"))
    assert "the table" in text(console)


def step(iteration: int, speed: float) -> dict[str, Any]:
    return {"iteration": iteration, "loss": 1.0, "images_per_second": speed, "feed_wait_share": 0.1}


@pytest.mark.parametrize("width", [80, 140])
def test_a_terminal_sees_speed_progress_and_the_last_failures_in_its_width(now: list[float], width: int) -> None:
    live, console = view(True, width=width)
    long = Job("cellx", "a variant of a name " * 9 + "seed 0", {}, 0)
    with live.view:
        for job, speed in ((JOBS[0], 100.0), (JOBS[1], 150.4), (long, 0.0)):
            live.started(job)
            live.stepped(job, step(1, speed), 4)
        live.stepped(JOBS[1], step(2, 150.4), 4)
        for number in range(5):
            live.ended(Job(f"bad{number}", f"[red]bad {number}[/red] seed 0", {}, 0), record("failed"))
        console.file = io.StringIO()
        console.print(live.view._render())
        seen = text(console).splitlines()
    plain = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in seen]
    assert any("250 images/s in all · 10 % of the time waiting for images" in line for line in plain)
    assert [line.split()[1:] for line in plain if "variant 1" in line] == [["2/4", "variant", "1", "seed", "0"]]
    assert max(map(len, plain)) <= width
    (line,) = [line for line in plain if "a variant of a name" in line]
    assert line.rstrip().endswith("a name seed 0"), "the seed tells cells apart"
    # Of five failures the last three; brackets in a name are no markup.
    assert [line for line in plain if line.startswith("failed")] == [
        f"failed [red]bad {number}[/red] seed 0: planted" for number in (2, 3, 4)
    ]


def test_failures_stay_when_the_live_view_goes(now: list[float]) -> None:
    live, console = view(True)
    with live.view:
        live.ended(JOBS[0], record("failed"))
        console.file = io.StringIO()
    assert "variant 0 seed 0: planted" in text(console)


def test_a_cell_that_goes_on_is_not_back_at_its_start(now: list[float]) -> None:
    tally = ProgressCounter(4, 0, lambda: 1)
    tally.started(JOBS[0])
    tally.stepped(JOBS[0], step(3, 9.0), 4)
    tally.retried(JOBS[0], "the worker died")
    tally.started(JOBS[0])
    (running,) = tally.snapshot().running
    assert (running.step, running.share, running.losses) == (3, 0.75, (1.0,))
    assert [note.text for note in tally.snapshot().retries] == ["the worker died"]


def test_a_loss_that_is_no_number_leaves_the_curve_alone(now: list[float]) -> None:
    tally = ProgressCounter(4, 0, lambda: 1)
    for iteration, loss in enumerate([2.0, math.nan, 1.0, math.inf, None], start=1):
        tally.stepped(JOBS[0], {"iteration": iteration, "loss": loss}, 5)
    for iteration in range(200):
        tally.stepped(JOBS[1], {"iteration": iteration, "loss": float(iteration)}, 200)
    first, second = tally.snapshot().running
    assert first.losses == (2.0, 1.0)
    assert second.losses[-1] == 199.0
    assert len(second.losses) < 100, "the file of a long cell grows without end"
