"""What the processes that work on a run say, as data for the live page: whether one is at work, how fast, on what."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dashboards.html import formats
from raysearch.runs.heartbeat import QUIET_SECONDS, Heartbeat, Note, RunningCell, Stage


def doing(said: Sequence[Heartbeat], quiet: Mapping[str, float], ended: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the page's state that the processes decide.

    Args:
        said: by every process, the latest last.
        quiet: key of a process that should be at work -> seconds for which it has been silent.
        ended: what the results store says: "planned", "ended" by status, and "command".
    """
    alive = [one for one in said if not one.done and quiet.get(one.key, 0.0) < QUIET_SECONDS]
    stages = [one.stage for one in alive if one.stage is not None]
    state, text = status(said, alive, quiet, ended)
    cells = sorted(((one, stage) for stage in stages for one in stage.running), key=lambda pair: pair[0].since)
    planned = max([ended["planned"], *(stage.total for stage in stages if stage.name == "cells")])
    return {
        "state": state,
        "status": text,
        "planned": planned,
        "facts": [{"key": name, "text": words} for name, words in facts(stages) if words],
        "running": [_running(one, stage) for one, stage in cells],
        "retries": [_note(note, index) for stage in stages for index, note in enumerate(stage.retries)],
        "counts": counted(planned, ended["ended"], len(cells)),
    }


def status(
    said: Sequence[Heartbeat], alive: Sequence[Heartbeat], quiet: Mapping[str, float], ended: Mapping[str, Any]
) -> tuple[str, str]:
    """Whether a sweep is at work, in a word for the page and a sentence for people."""
    again = f" Go on with: {ended['command']}" if ended["command"] else ""
    if alive:
        silent = [one for one in said if not one.done and one not in alive]
        also = "".join(f" Another, {one.key}, has been silent for {_rough(quiet[one.key])}." for one in silent)
        if all(one.stage is None for one in alive):
            return "running", f"Starting: Ray, and the images.{also}"
        stages = {one.stage.name for one in alive if one.stage is not None} - {"cells"}
        what = f"Running {formats.listed(sorted(stages))}." if stages else "Running."
        return "running", f"{len(alive)} sweeps are running.{also}" if len(alive) > 1 else what + also
    whole = ended["planned"] and sum(ended["ended"].values()) >= ended["planned"]
    if not said:
        text = "All cells have ended." if whole else f"No sweep is running here.{again}"
        return ("ended" if whole else "quiet"), text
    last = said[-1]
    at = f"{datetime.fromtimestamp(last.beat):%H:%M:%S}"
    if not last.done:
        text = f"No news for {_rough(quiet[last.key])}: the sweep was killed, or its machine is gone."
        return "quiet", f"{text} The last came at {at} from {last.host}, process {last.pid}.{again}"
    if last.state == "failed":
        return "failed", f"The sweep ended at {at} with an error: {last.error}{again}"
    if last.state == "stopped":
        return "stopped", f"The sweep was stopped at {at}.{again}"
    return "ended", f"The sweep ended at {at}."


def facts(stages: Sequence[Stage]) -> list[tuple[str, str]]:
    """Figures that change all the time, of all processes together; empty where nobody knows."""
    if not stages:
        return []
    speeds = [one.images_per_second for one in stages if one.images_per_second is not None]
    waits = [one.feed_wait_share for one in stages if one.feed_wait_share is not None]
    memory = [one.gpu_memory_bytes for one in stages if one.gpu_memory_bytes is not None]
    running, slots = sum(len(one.running) for one in stages), sum(one.slots for one in stages)
    left = together([one.seconds_left for one in stages])
    retried = sum(one.retried for one in stages)
    return [
        ("Time left", f"about {formats.seconds(left)}" if left is not None else "not known yet"),
        ("So far", formats.seconds(max(one.seconds for one in stages))),
        ("Images a second", f"{sum(speeds):,.0f}" if speeds else ""),
        ("Waiting for images", f"{100 * sum(waits) / len(waits):.0f} % of the time" if waits else ""),
        ("GPU memory", f"{max(memory) / 2**30:.1f} GiB" if memory else ""),
        ("Trials at a time", f"{running} of {slots}"),
        ("Retried", f"{retried:,}" if retried else ""),
    ]


def together(left: Sequence[float | None]) -> float | None:
    """Seconds that several need who would need these each alone: what is left is the same, and their speeds add.

    >>> together([60.0, 30.0, None])
    20.0
    """
    known = [one for one in left if one is not None]
    if not known:
        return None
    return 1 / sum(1 / one for one in known) if all(known) else 0.0


def counted(planned: int, ended: Mapping[str, int], running: int) -> str:
    """The sentence that is read out when it changes.

    >>> counted(9, {"finished": 3, "stopped": 0, "failed": 1}, 2)
    '4 of 9 cells ended, 2 running, 1 failed'
    """
    parts = [f"{sum(ended.values()):,} of {formats.count(planned, 'cell')} ended", f"{running} running"]
    words = {"stopped": "stopped early", "failed": "failed"}
    return ", ".join(parts + [f"{ended[one]:,} {word}" for one, word in words.items() if ended[one]])


def _running(one: RunningCell, stage: Stage) -> dict[str, Any]:
    speed = f"{one.images_per_second:,.0f} images/s" if one.images_per_second is not None else ""
    return {
        "key": one.cell,
        "name": one.name if stage.name == "cells" else f"{one.name} ({stage.name})",
        "share": one.share,
        "step": f"{one.step} of {one.steps}" if one.steps else "begins",
        "speed": speed,
        "losses": list(one.losses),
        "loss": f"loss {formats.metric(one.losses[-1])}" if one.losses else "",
    }


def _note(note: Note, index: int) -> dict[str, str]:
    return {"key": f"{index} {note.name} {note.text}", "name": note.name, "line": note.text}


def _rough(seconds: float) -> str:
    """A silence in steps, so that it is news now and then only.

    >>> _rough(47.2), _rough(125.0)
    ('40 s', '2 min 00 s')
    """
    step = 10 if seconds < 120 else 60
    return formats.seconds(seconds // step * step)
