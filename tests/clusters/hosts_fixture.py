"""The cluster of docs/clusters/on_prem.md on hosts of this machine: a laptop, a head, two workers and an outsider.

The commands that a person types are taken from the page itself (`OnPremCluster.run_documented`), so the page holds only
what was tried. Two commands are left out: `ssh-copy-id` asks for a password, and pip would download packages that are
already installed.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from raysearch.engine.preflight import ray_yaml

from .host_setup import USER, allow_key, install_python
from .network_hosts import Host, Network, Result

ROOT = Path(__file__).parents[2]
FILES = {"clusters/on_prem.yaml": "my-cluster.yaml", "clusters/firewall.nft": "clusters/firewall.nft"}
WORKERS = ("worker1", "worker2")
PATIENCE = 900.0  # seconds; a second is enough on a quiet machine
DASHBOARD = 8265
_LEFT_OUT = shutil.ignore_patterns(".git", "runs", "__pycache__", ".*_cache", "build", "dist")


class OnPremCluster:
    """The machines, as a person at the laptop uses them. Made by `on_prem_cluster`."""

    def __init__(self, network: Network, shared: Path) -> None:
        self.network, self.shared = network, shared
        self.laptop, self.head, self.outsider = (network.hosts[name] for name in ("laptop", "head", "outsider"))
        self.workers = [network.hosts[name] for name in WORKERS]
        self._lines = _console((ROOT / "docs" / "clusters" / "on_prem.md").read_text())

    @property
    def machines(self) -> list[Host]:
        return [self.head, *self.workers]

    @property
    def values(self) -> dict[str, str]:
        """Values for the placeholders of the shipped files."""
        workers = ", ".join(worker.address for worker in self.workers)
        return {"Head": self.head.address, "Workers": workers, "User": USER}

    def run_documented(self, start: str, seconds: float = PATIENCE) -> Result:
        """Run the line of the page that starts with `start`."""
        return self.laptop.run(self._line(start), seconds=seconds)

    @contextlib.contextmanager
    def tunnel(self) -> Iterator[str]:
        """Open the page's tunnel to the dashboard; yield the address."""
        process = self.laptop.start(self._line("ray dashboard"))
        try:
            wait(lambda: any(socket.port == DASHBOARD for socket in self.laptop.listening()), "a tunnel")
            yield f"http://localhost:{DASHBOARD}"
        finally:
            os.killpg(process.pid, 15)
            process.wait(timeout=60)

    def ray(self, host: Host, command: str, seconds: float = PATIENCE) -> Result:
        """Run a command of Ray on a host, in the environment that `ray up` cluster."""
        return host.run(f"source ~/.bashrc; {command}", seconds=seconds)

    def alive(self) -> set[str]:
        """Return the addresses of the machines that the head sees alive."""
        ask = "import ray, json; ray.init('auto', logging_level='ERROR'); print(json.dumps(ray.nodes()))"
        output = self.ray(self.head, f"python -c {json.dumps(ask)}").output  # Ray prints lines before and after it
        nodes_lines = [line for line in output.splitlines() if line.startswith("[{")]
        nodes: list[dict[str, Any]] = json.loads(nodes_lines[-1]) if nodes_lines else []
        return {node["NodeManagerAddress"] for node in nodes if node["Alive"]}

    def _line(self, start: str) -> str:
        (line,) = [line for line in self._lines if line.startswith(start)]
        return f"cd ~/raysearch && export RAY_AUTH_MODE=token && {line}"


@contextlib.contextmanager
def on_prem_cluster(folder: Path) -> Iterator[OnPremCluster]:
    """Make the machines that the page asks for, and run its steps before `ray up`."""
    shared = folder / "shared"
    shared.mkdir(parents=True)
    with Network(folder / "network", ["laptop", "head", *WORKERS, "outsider"], [shared]) as network:
        cluster = OnPremCluster(network, shared)
        for host in network.hosts.values():
            install_python(host.home)
        for worker in cluster.workers:  # so small that a trial of two needs both
            (worker.home / ".bashrc").write_text("""export RAY_OVERRIDE_RESOURCES='{"CPU": 1}'\n""")
        for host in (cluster.laptop, cluster.outsider):
            shutil.copytree(ROOT, host.home / "raysearch", ignore=_LEFT_OUT)
            host.run("pip install --editable ~/raysearch")
        checkout = cluster.laptop.home / "raysearch"
        for shipped, copy in FILES.items():
            (checkout / copy).write_text(ray_yaml.fill_placeholders((checkout / shipped).read_text(), cluster.values))
        for start in ("ssh-keygen", "(umask 077", "python -m raysearch.cluster check"):
            result = cluster.run_documented(start)
            assert result.status == 0, result.output
        for machine in cluster.machines:
            allow_key(machine.home, cluster.laptop.home / ".ssh" / "raysearch")
        yield cluster


def wait(condition: Callable[[], bool], event: str, seconds: float = PATIENCE) -> None:
    """Wait until a condition holds; fail after some seconds with the event's name."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{event} did not come in {seconds:g} s"
        time.sleep(2)


def _console(page: str) -> list[str]:
    """Return the lines of a page's `console` blocks."""
    blocks = [block.split("```")[0] for block in page.split("```console\n")[1:]]
    return [line for block in blocks for line in block.splitlines()]
