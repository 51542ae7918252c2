"""A cluster's head started by `ray start`, beside any other Ray on this machine."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.cluster_utils import Cluster

from raysearch.engine.cluster import connection

__all__ = ["FAKE_HEAD_NODE_ID", "RAY", "Head", "cluster_with_one_cpu", "growing_head"]

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


# Ray's provider of nodes that are processes on this machine takes no memory, without which the autoscaler would think
# that a worker group does not fit on them.
PROVIDER = """
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider

class Nodes(FakeMultiNodeProvider):
    def create_node_with_resources_and_labels(self, node_config, tags, count, resources, labels):
        known = {name: amount for name, amount in resources.items() if name != "memory"}
        return super().create_node_with_resources_and_labels(node_config, tags, count, known, labels)
"""
LISTS = ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands", "setup_commands")
COMMANDS = ("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
HEAD_TYPE = "ray.head.default"  # as the provider calls the type of the node that is there already


def growing_head(
    folder: Path,
    node: Mapping[str, float],
    most: int,
    version: int = 2,
    settings: Mapping[str, str] | None = None,
) -> Head:
    """Return a head without CPUs whose autoscaler adds nodes that are processes on this machine.

    Args:
        folder: for the autoscaler's files.
        node: resources of a node that it adds; empty if its configuration does not state them.
        most: nodes that it adds.
        version: of Ray's autoscaler.
        settings: of the environment, besides those of the autoscaler.
    """
    (folder / "provider.py").write_text(PROVIDER)
    file = folder / "autoscaler.json"
    of_autoscaler = {
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": str(version - 1),
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    }
    words = ["--num-cpus", "0", "--num-gpus", "0", "--include-dashboard", "false", f"--autoscaling-config={file}"]

    def _write(address: str) -> None:
        file.write_text(json.dumps(_autoscaler_config(address, node, most)))

    return Head(*words, settings={**of_autoscaler, **(settings or {})}, config=_write)


def _autoscaler_config(address: str, node: Mapping[str, float], most: int) -> dict[str, Any]:
    """What `ray up` would hand to the autoscaler."""
    resources = {**node, "memory": 2 << 30, "object_store_memory": 150 << 20} if node else {}
    return {
        "cluster_name": "here",
        "max_workers": most,
        "upscaling_speed": 100.0,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "external",
            "module": "provider.Nodes",
            "gcs_address": address,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
        },
        "available_node_types": {
            HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": most},
        },
        "head_node_type": HEAD_TYPE,
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in (*LISTS, *COMMANDS)},
    }
