"""The live view: what it counts and says, drawn into a string."""

import io
from typing import Any

import pytest
from rich.console import Console

from raysearch.engine import telemetry
from raysearch.engine.tuner import Job

JOBS = [Job(f"cell{i}", f"variant {i} seed 0", {}, 0) for i in range(4)]


def record(status: str, seconds: float = 10.0) -> dict[str, Any]:
    return {"status": status, "seconds": seconds, "error": "planted" if status == "failed" else None}


def view(terminal: bool, stored: list[Job]) -> tuple[telemetry.LiveView, Console]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    live = telemetry.LiveView(
        total=6,
        done=2,
        slots=2,
        table=lambda: "the table",
        stored=lambda job, ended: stored.append(job),
        console=console,
    )
    return live, console


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_end_is_stored_before_it_is_shown_and_failures_are_named() -> None:
    stored: list[Job] = []
    live, console = view(False, stored)
    with live:
        for job in JOBS:
            live.started(job)
            live.ended(job, record("failed" if job is JOBS[1] else "finished"))
    assert stored == JOBS
    assert "failed variant 1 seed 0: planted" in text(console)


def test_the_line_counts_cells_and_estimates_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(telemetry.time, "monotonic", lambda: now[0])
    live, console = view(False, [])
    live.started(JOBS[0])
    live.started(JOBS[1])
    live.ended(JOBS[0], record("finished", 30.0))
    now[0] = 60.0
    live.stepped(JOBS[1], {"iteration": 2}, 4)
    line = text(console).strip().splitlines()[-1]
    # Three cells have not ended, one of them is half done: 2.5 cells of 30 s on two slots.
    assert line == "3 of 6 cells ended · 1 running · 1 min 0 s so far · about 38 s left"


def test_a_terminal_sees_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_TABLE_INTERVAL", -1.0)
    live, console = view(True, [])
    with live:
        live.started(JOBS[0])
        live.ended(JOBS[0], record("finished"))
    assert "the table" in text(console)
