"""A scan of every port of a cluster's machines from an outside host, and a table of the answers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .network_hosts import Host

_PORT_SCAN = Path(__file__).with_name("port_scan.py")


@dataclass(frozen=True)
class PortAnswers:
    """A listening port, and its answer to each token."""

    machine: str
    bound: str
    port: int
    program: str
    answers: tuple[str, ...]


def scan_ports(outsider: Host, machines: Sequence[Host], tokens: Sequence[str]) -> list[PortAnswers]:
    """Ask every listening port of some machines with each token; "" is no token."""
    script = outsider.home / "port_scan.py"
    script.write_text(_PORT_SCAN.read_text())
    ports_found = []
    for machine in machines:
        sockets = machine.listening()
        ports = " ".join(sorted({str(socket.port) for socket in sockets}, key=int))
        answers_by_token = []
        for token in tokens:
            settings = {"TOKEN": token} if token else {}
            result = outsider.run(f"python port_scan.py {machine.address} {ports}", settings, seconds=600)
            assert result.status == 0, result.output
            answers_by_token.append(json.loads(result.output.splitlines()[-1]))
        for socket in sockets:
            answers = tuple(by_port[str(socket.port)] for by_port in answers_by_token)
            ports_found.append(PortAnswers(machine.name, socket.address, socket.port, socket.program, answers))
    return ports_found


def format_table(ports: Sequence[PortAnswers]) -> str:
    """Return one line per port."""
    lines = [f"{'machine':8} {'bound to':24} {'port':>5} {'program':16} answers"]
    for port in ports:
        answers = " | ".join(text[:70] for text in port.answers)
        lines.append(f"{port.machine:8} {port.bound:24} {port.port:5} {port.program:16} {answers}")
    return "\n".join(lines)
