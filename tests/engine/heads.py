"""A cluster's head started by `ray start`, beside any other Ray on this machine."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from raysearch.engine.cluster import connection

RAY = str(Path(sys.executable).parent / "ray")


class Head:
    """A head. It is a context manager: at its end all processes of the cluster are gone.

    Args:
        words: of `ray start`, beside its port and folder.
        settings: of the environment.
        config: writes what the head reads, which may need its address.

    Attributes:
        address: that drivers join.
        folder: where Ray's processes of this cluster keep their files, until the end.
        environment: of its processes.
    """

    def __init__(
        self,
        *words: str,
        settings: Mapping[str, str] | None = None,
        config: Callable[[str], object] = lambda address: None,
    ) -> None:
        port = connection.free_port()
        self.address = f"{ray.util.get_node_ip_address()}:{port}"
        config(self.address)
        # It holds sockets, whose paths may not be long. In Ray's own folder another cluster's head would be found.
        self.folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        # With a token in this user's home, every process that joins would need it.
        self.environment |= {"RAY_AUTH_MODE": "disabled", **(settings or {})}
        command = [RAY, "start", "--head", "--block", "--port", str(port), "--temp-dir", self.folder]
        command += ["--object-store-memory", str(150 << 20), "--disable-usage-stats", *words]
        self._log = Path(self.folder) / "start.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment, "RAY_ADDRESS": self.address},  # its processes look for their own cluster
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in self._log.read_text():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self._process.pid:
                    process.send_signal(signal.SIGKILL)
            except (psutil.Error, ProcessLookupError):
                continue
        self._process.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def cluster_with_one_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Start a head with one CPU, on a machine where other Ray clusters may run."""
    port = connection.free_port()
    monkeypatch.setenv("RAY_ADDRESS", f"{ray.util.get_node_ip_address()}:{port}")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "gcs_server_port": port})
    try:
        yield cluster
    finally:
        cluster.shutdown()
