"""The live view: what it counts and says, drawn into a string."""

import io
from typing import Any

import pytest
from rich.console import Console

from raysearch.engine import telemetry
from raysearch.engine.jobs import Job

JOBS = [Job(f"cell{i}", f"variant {i} seed 0", {}, 0) for i in range(4)]


def record(status: str, seconds: float = 10.0) -> dict[str, Any]:
    return {"status": status, "seconds": seconds, "error": "planted" if status == "failed" else None}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, which stands still unless a test moves it."""
    clock = [0.0]
    monkeypatch.setattr(telemetry.time, "monotonic", lambda: clock[0])
    return clock


def view(terminal: bool, slots: list[int] | None = None) -> tuple[telemetry.LiveView, Console]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    places = slots or [2]
    return telemetry.LiveView(6, 2, lambda: places[0], lambda: "the table", console), console


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def last_line(live: telemetry.LiveView, console: Console, now: list[float], job: Job) -> str:
    """What a log says next, a minute later."""
    now[0] += 60
    live.stepped(job, {"iteration": 2}, 4)
    return text(console).strip().splitlines()[-1]


def test_failures_and_retries_are_named(now: list[float]) -> None:
    live, console = view(False)
    with live:
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
    line = "3 of 6 cells ended · 1 running · 1 min 0 s so far · about 38 s left"
    assert last_line(live, console, now, JOBS[1]) == line


def test_every_way_to_end_is_counted_apart(now: list[float]) -> None:
    live, console = view(False)
    for job, status in zip(JOBS, ("finished", "stopped", "failed"), strict=False):
        live.started(job)
        live.retried(job, "the worker died")
        live.ended(job, record(status, 20.0 if status == "finished" else 10.0))
    # One cell is left, half of it done; one that may be stopped early takes 15 s, as those before did; a failed one
    # says nothing of what a cell takes.
    line = "5 of 6 cells ended · 1 running · 1 stopped early · 1 failed · 3 retried · 1 min 0 s so far · about 4 s left"
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
    monkeypatch.setattr(telemetry, "_TABLE_INTERVAL", -1.0)
    live, console = view(True)
    with live:
        live.started(JOBS[0])
        live.ended(JOBS[0], record("finished"))
    assert "the table" in text(console)
