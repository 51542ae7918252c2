"""Without the token nobody gets into a head on loopback. It needs no network namespaces, unlike test_on_prem.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from raysearch.engine.cluster.connection import free_port

from ..engine.heads import Head

TOKEN = "a1" * 32
WRONG = "0" * 64
PORT_SCAN = Path(__file__).with_name("port_scan.py")


def scan_answers(ports: list[int], token: str | None) -> dict[int, str]:
    command = [sys.executable, str(PORT_SCAN), "127.0.0.1", *map(str, ports)]
    environment = {**os.environ, "TOKEN": token} if token else dict(os.environ)
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    return {int(port): answer for port, answer in json.loads(process.stdout).items()}


def listening(head: Head) -> list[int]:
    """Ports of the head's processes, but for those of metrics, which know no token."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAY_ADDRESS") == head.address:
                found |= {one.laddr.port: process.name() for one in process.net_connections() if one.status == "LISTEN"}
        except (psutil.Error, OSError):
            continue
    return sorted(port for port in found if port not in (44217, 44227))


@pytest.mark.slow
def test_every_port_refuses_a_client_without_the_token(tmp_path: Path) -> None:
    token = tmp_path / "auth_token"
    token.write_text(TOKEN)
    metrics, dashboard = free_port(), free_port()
    words = ["--num-cpus", "1", "--include-dashboard", "true", "--dashboard-host", "127.0.0.1"]
    words += ["--dashboard-port", str(dashboard), "--metrics-export-port", str(metrics)]
    words += ["--dashboard-agent-listen-port", str(free_port()), "--ray-client-server-port", str(free_port())]
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with Head(*words, settings=settings) as head:
        ports = [port for port in listening(head) if port != metrics]
        assert {dashboard, int(head.address.rpartition(":")[2])} <= set(ports)
        for wrong in (None, WRONG):
            answers = scan_answers(ports, wrong)
            print(answers)
            assert answers.pop(dashboard) == "ANSWERS: GET / 200", "only the page that asks for the token"
            assert {answer.split(":")[0] for answer in answers.values()} <= {"refuses", "closed"}
        right = scan_answers(ports, TOKEN)
    assert "GET /api/jobs/ 200" in right[dashboard]
    assert any("ray.rpc" in answer for answer in right.values())
