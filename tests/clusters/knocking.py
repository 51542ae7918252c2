"""A stranger's knocking at every port of a cluster's machines, and the table of what came of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .hosts import Host

_INTRUDER = Path(__file__).with_name("intruder.py")


@dataclass(frozen=True)
class Door:
    """A port, and what it said to each of the tokens."""

    machine: str
    bound: str
    port: int
    program: str
    said: tuple[str, ...]


def doors(stranger: Host, machines: Sequence[Host], tokens: Sequence[str]) -> list[Door]:
    """Knock with each of the tokens, "" for none, at every port on which something on a machine listens."""
    script = stranger.home / "intruder.py"
    script.write_text(_INTRUDER.read_text())
    found = []
    for machine in machines:
        sockets = machine.listening()
        ports = " ".join(sorted({str(one.port) for one in sockets}, key=int))
        answers = []
        for token in tokens:
            settings = {"TOKEN": token} if token else {}
            done = stranger.run(f"python intruder.py {machine.address} {ports}", settings, seconds=600)
            assert done.status == 0, done.output
            answers.append(json.loads(done.output.splitlines()[-1]))
        for one in sockets:
            said = tuple(answer[str(one.port)] for answer in answers)
            found.append(Door(machine.name, one.address, one.port, one.program, said))
    return found


def table(found: Sequence[Door]) -> str:
    """For people: a line a port."""
    lines = [f"{'machine':8} {'bound to':24} {'port':>5} {'program':16} said"]
    for one in found:
        said = " | ".join(text[:70] for text in one.said)
        lines.append(f"{one.machine:8} {one.bound:24} {one.port:5} {one.program:16} {said}")
    return "\n".join(lines)
