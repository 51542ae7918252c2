"""Messages from a sweep to the process of a tracker: one JSON object per line.

A message is a step of a cell, or the end of a cell. The process reads them from its standard input, until the sweep
closes it or dies.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from raysearch.engine.trackers.tracker import Numbers, Outcome, TrackedCell


@dataclass(frozen=True)
class StepMessage:
    """A step of a cell."""

    cell: TrackedCell
    step: int
    values: Numbers


@dataclass(frozen=True)
class EndMessage:
    """The end of a cell."""

    cell: TrackedCell
    outcome: Outcome


Message = StepMessage | EndMessage


def encode(message: Message) -> str:
    """Return a message as one line."""
    return json.dumps(asdict(message))


def decode(line: str) -> Message:
    """Return the message that `encode` wrote."""
    data = json.loads(line)
    cell = TrackedCell(**data["cell"])
    if "outcome" in data:
        return EndMessage(cell, Outcome(**data["outcome"]))
    return StepMessage(cell, data["step"], data["values"])


def read_messages(stream: TextIO) -> Iterator[Message]:
    """Yield the messages of a stream. A last line without its end comes from a sweep that was killed: it is dropped."""
    for line in stream:
        if line.endswith("\n"):
            yield decode(line)


def numbers_of(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers among values.

    >>> numbers_of({"loss": 0.5, "phase": "train", "lr": float("nan"), "epochs": 2, "flag": True})
    {'loss': 0.5, 'epochs': 2}
    """
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
