"""The cluster of docs/clusters/on_prem.md on hosts of this machine: a laptop, a head, two workers, and a stranger.

What the page has a person type is taken from the page itself (`Desk.type`), so that it says nothing else than what has
been tried. Two things cannot be: `ssh-copy-id` asks for a password, and pip would load down what is there already.
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

from .furnishing import USER, give_python, trust
from .hosts import Done, Host, Lan

ROOT = Path(__file__).parents[2]
FILES = {"clusters/on_prem.yaml": "my-cluster.yaml", "clusters/firewall.nft": "clusters/firewall.nft"}
WORKERS = ("worker1", "worker2")
PATIENCE = 900.0  # seconds for what takes one on a quiet machine
DASHBOARD = 8265
_LEFT_OUT = shutil.ignore_patterns(".git", "runs", "__pycache__", ".*_cache", "build", "dist")


class Desk:
    """A person at the laptop. Made by `desk`."""

    def __init__(self, lan: Lan, shared: Path) -> None:
        self.lan, self.shared = lan, shared
        self.laptop, self.head, self.stranger = (lan.hosts[name] for name in ("laptop", "head", "stranger"))
        self.workers = [lan.hosts[name] for name in WORKERS]
        self._lines = _console((ROOT / "docs" / "clusters" / "on_prem.md").read_text())

    @property
    def machines(self) -> list[Host]:
        return [self.head, *self.workers]

    @property
    def values(self) -> dict[str, str]:
        """What a person puts into the places of the shipped files."""
        workers = ", ".join(one.address for one in self.workers)
        return {"Head": self.head.address, "Workers": workers, "User": USER}

    def type(self, start: str, seconds: float = PATIENCE) -> Done:
        """Type the page's line that starts so."""
        return self.laptop.run(self._line(start), seconds=seconds)

    @contextlib.contextmanager
    def tunnel(self) -> Iterator[str]:
        """The page's tunnel to the dashboard, open in a terminal of its own; yields the address."""
        process = self.laptop.start(self._line("ray dashboard"))
        try:
            wait(lambda: any(one.port == DASHBOARD for one in self.laptop.listening()), "a tunnel")
            yield f"http://localhost:{DASHBOARD}"
        finally:
            os.killpg(process.pid, 15)
            process.wait(timeout=60)

    def ray(self, host: Host, command: str, seconds: float = PATIENCE) -> Done:
        """A command of Ray's on a host, as its environment has it after `ray up`."""
        return host.run(f"source ~/.bashrc; {command}", seconds=seconds)

    def alive(self) -> set[str]:
        """Addresses of the machines that are up, as the head sees it."""
        ask = "import ray, json; ray.init('auto', logging_level='ERROR'); print(json.dumps(ray.nodes()))"
        output = self.ray(self.head, f"python -c {json.dumps(ask)}").output  # Ray's own words before and after it
        said = [line for line in output.splitlines() if line.startswith("[{")]
        nodes: list[dict[str, Any]] = json.loads(said[-1]) if said else []
        return {node["NodeManagerAddress"] for node in nodes if node["Alive"]}

    def _line(self, start: str) -> str:
        (line,) = [one for one in self._lines if one.startswith(start)]
        return f"cd ~/raysearch && export RAY_AUTH_MODE=token && {line}"


@contextlib.contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    """Machines as the page asks for them, and what it has a person do before `ray up`."""
    shared = folder / "shared"
    shared.mkdir(parents=True)
    with Lan(folder / "lan", ["laptop", "head", *WORKERS, "stranger"], [shared]) as lan:
        made = Desk(lan, shared)
        for host in lan.hosts.values():
            give_python(host.home)
        for worker in made.workers:  # so small that a trial of two needs both
            (worker.home / ".bashrc").write_text("""export RAY_OVERRIDE_RESOURCES='{"CPU": 1}'\n""")
        for host in (made.laptop, made.stranger):
            shutil.copytree(ROOT, host.home / "raysearch", ignore=_LEFT_OUT)
            host.run("pip install --editable ~/raysearch")
        checkout = made.laptop.home / "raysearch"
        for shipped, own in FILES.items():
            (checkout / own).write_text(ray_yaml.fill_placeholders((checkout / shipped).read_text(), made.values))
        for start in ("ssh-keygen", "(umask 077", "python -m raysearch.cluster check"):
            done = made.type(start)
            assert done.status == 0, done.output
        for machine in made.machines:
            trust(machine.home, made.laptop.home / ".ssh" / "raysearch")
        yield made


def wait(true: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come in {seconds:g} s"
        time.sleep(2)


def _console(page: str) -> list[str]:
    """The lines of a page's blocks marked `console`."""
    blocks = [block.split("```")[0] for block in page.split("```console\n")[1:]]
    return [line for block in blocks for line in block.splitlines()]
