"""The state of the processes that work on a run, as data for the live page: at work or not, speed, running cells."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dashboards.html import formats
from raysearch.runs.heartbeat import QUIET_SECONDS, Heartbeat, Note, RunningCell, Stage


def process_state(
    heartbeats: Sequence[Heartbeat], quiet: Mapping[str, float], results: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the part of the page's state that depends on the processes.

    Args:
        heartbeats: the heartbeats of every process, the latest last.
        quiet: key of a process that is not done -> seconds since its last sign.
        results: the part that depends on the results: "planned", "ended" by status, and "command".
    """
    alive = [beat for beat in heartbeats if not beat.done and quiet.get(beat.key, 0.0) < QUIET_SECONDS]
    stages = [beat.stage for beat in alive if beat.stage is not None]
    state, text = sweep_status(heartbeats, alive, quiet, results)
    running = [(cell, stage) for stage in stages for cell in stage.running]
    running.sort(key=lambda pair: pair[0].since)
    planned = max([results["planned"], *(stage.total for stage in stages if stage.name == "cells")])
    return {
        "state": state,
        "status": text,
        "planned": planned,
        "facts": [{"key": title, "text": fact} for title, fact in progress_facts(stages) if fact],
        "running": [_running_cell(cell, stage) for cell, stage in running],
        "retries": [_note(note, index) for stage in stages for index, note in enumerate(stage.retries)],
        "counts": counts_sentence(planned, results["ended"], len(running)),
    }


def sweep_status(
    heartbeats: Sequence[Heartbeat],
    alive: Sequence[Heartbeat],
    quiet: Mapping[str, float],
    results: Mapping[str, Any],
) -> tuple[str, str]:
    """Return whether a sweep is at work, as a keyword for the page and as a sentence.

    Args:
        heartbeats: the heartbeats of every process, the latest last.
        alive: identities of the processes that are at work.
        quiet: key of a process that is not done -> seconds since its last sign.
        results: as for `process_state`.
    """
    hint = f" Continue with: {results['command']}" if results["command"] else ""
    if alive:
        return "running", _running_text(heartbeats, alive, quiet)
    complete = results["planned"] and sum(results["ended"].values()) >= results["planned"]
    if not heartbeats:
        return ("ended", "All cells have ended.") if complete else ("quiet", f"No sweep is running here.{hint}")
    last = heartbeats[-1]
    time = f"{datetime.fromtimestamp(last.beat):%H:%M:%S}"
    if not last.done:
        silence = f"No sign for {_rounded_seconds(quiet[last.key])}: the sweep was killed, or its machine is down."
        return "quiet", f"{silence} Last sign at {time} from {last.host}, process {last.pid}.{hint}"
    if last.state == "failed":
        return "failed", f"The sweep ended at {time} with an error: {last.error}{hint}"
    if last.state == "stopped":
        return "stopped", f"The sweep was stopped at {time}.{hint}"
    return "ended", f"The sweep ended at {time}."


def progress_facts(stages: Sequence[Stage]) -> list[tuple[str, str]]:
    """Return (title, text) of the figures that change all the time, over all processes; the text may be empty."""
    if not stages:
        return []
    speeds = [stage.images_per_second for stage in stages if stage.images_per_second is not None]
    waits = [stage.feed_wait_share for stage in stages if stage.feed_wait_share is not None]
    memory = [stage.gpu_memory_bytes for stage in stages if stage.gpu_memory_bytes is not None]
    running = sum(len(stage.running) for stage in stages)
    slots = sum(stage.slots for stage in stages)
    retried = sum(stage.retried for stage in stages)
    seconds_left = combined_seconds_left([stage.seconds_left for stage in stages])
    return [
        ("Time left", f"about {formats.seconds(seconds_left)}" if seconds_left is not None else "not known yet"),
        ("So far", formats.seconds(max(stage.seconds for stage in stages))),
        ("Images per second", f"{sum(speeds):,.0f}" if speeds else ""),
        ("Waiting for images", f"{100 * sum(waits) / len(waits):.0f} % of the time" if waits else ""),
        ("GPU memory", f"{max(memory) / 2**30:.1f} GiB" if memory else ""),
        ("Trials at a time", f"{running} of {slots}"),
        ("Retried", f"{retried:,}" if retried else ""),
    ]


def combined_seconds_left(seconds: Sequence[float | None]) -> float | None:
    """Return the time that several processes need together for the same remaining cells, whose speeds add up.

    Args:
        seconds: the seconds that each process would need alone; None if unknown.

    >>> combined_seconds_left([60.0, 30.0, None])
    20.0
    """
    known = [value for value in seconds if value is not None]
    if not known:
        return None
    return 1 / sum(1 / value for value in known) if all(known) else 0.0


def counts_sentence(planned: int, ended: Mapping[str, int], running: int) -> str:
    """Return the counts of cells; screen readers read the sentence when it changes.

    >>> counts_sentence(9, {"finished": 3, "stopped": 0, "failed": 1}, 2)
    '4 of 9 cells ended, 2 running, 1 failed'
    """
    parts = [f"{sum(ended.values()):,} of {formats.count(planned, 'cell')} ended", f"{running} running"]
    titles = {"stopped": "stopped early", "failed": "failed"}
    return ", ".join(parts + [f"{ended[status]:,} {title}" for status, title in titles.items() if ended[status]])


def _running_text(heartbeats: Sequence[Heartbeat], alive: Sequence[Heartbeat], quiet: Mapping[str, float]) -> str:
    silent = [beat for beat in heartbeats if not beat.done and beat not in alive]
    others = "".join(f" No sign from {beat.key} for {_rounded_seconds(quiet[beat.key])}." for beat in silent)
    stages = [beat.stage for beat in alive if beat.stage is not None]
    if not stages:
        return f"Starting Ray and providing images.{others}"
    if len(alive) > 1:
        return f"{len(alive)} sweeps are running.{others}"
    names = {stage.name for stage in stages} - {"cells"}
    return (f"Running {formats.listed(sorted(names))}." if names else "Running.") + others


def _running_cell(cell: RunningCell, stage: Stage) -> dict[str, Any]:
    return {
        "key": cell.cell,
        "name": cell.name if stage.name == "cells" else f"{cell.name} ({stage.name})",
        "share": cell.share,
        "step": f"{cell.step} of {cell.steps}" if cell.steps else "starting",
        "speed": f"{cell.images_per_second:,.0f} images/s" if cell.images_per_second is not None else "",
        "losses": list(cell.losses),
        "loss": f"loss {formats.metric(cell.losses[-1])}" if cell.losses else "",
    }


def _note(note: Note, index: int) -> dict[str, str]:
    return {"key": f"{index} {note.name} {note.text}", "name": note.name, "line": note.text}


def _rounded_seconds(seconds: float) -> str:
    """Return a silence in steps of 10 s or 1 min, so that the page does not change all the time.

    >>> _rounded_seconds(47.2), _rounded_seconds(125.0)
    ('40 s', '2 min 00 s')
    """
    step = 10 if seconds < 120 else 60
    return formats.seconds(seconds // step * step)
