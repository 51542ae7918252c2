"""A sweep on a head without CPUs: Ray's autoscaler adds nodes because groups wait, and takes idle ones away again."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.autoscaler.v2.sdk import get_cluster_status

from .. import sweeps
from ..heads import Head

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
NODES = 2
HEAD = "ray.head.default"  # as the provider calls the type of the node that is there already


def config(address: str) -> dict[str, Any]:
    """What `ray up` would hand to the autoscaler."""
    one = {"CPU": 1, "memory": 2 << 30, "object_store_memory": 150 << 20}
    return {
        "cluster_name": "here",
        "max_workers": NODES,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "external",
            "module": "provider.Nodes",
            "gcs_address": address,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
        },
        "available_node_types": {
            HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": one, "node_config": {}, "min_workers": 0, "max_workers": NODES},
        },
        "head_node_type": HEAD,
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in (*LISTS, *COMMANDS)},
    }


@pytest.mark.slow
def test_nodes_come_and_go(tmp_path: Path, tiny_data: Path) -> None:
    sweeps.prepare(tmp_path, tiny_data, iterations=8, variants=3, seeds=1)
    (tmp_path / "provider.py").write_text(PROVIDER)
    file = tmp_path / "autoscaler.json"
    settings = {
        "PYTHONPATH": str(tmp_path),
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    }
    words = ["--num-cpus", "0", "--include-dashboard", "false", f"--autoscaling-config={file}"]
    with contextlib.ExitStack() as stack:
        head = stack.enter_context(
            Head(*words, settings=settings, config=lambda address: file.write_text(json.dumps(config(address))))
        )
        process = stack.enter_context(sweeps.Sweeps(tmp_path, head.address)).start("out")
        counts = [0]
        deadline = time.monotonic() + 500
        while process.poll() is None:
            assert time.monotonic() < deadline, "the sweep did not end"
            if (count := workers(head.address)) != counts[-1]:
                counts.append(count)
            time.sleep(0.5)
        sweeps.finish(process)
    assert max(counts) == NODES, counts
    rows = sweeps.rows(tmp_path, "out")
    assert [(row["status"], row["attempts"]) for row in rows] == [("finished", 1)] * 3
    print("nodes:", counts)


def workers(address: str) -> int:
    """Nodes beside the head that are there."""
    status = get_cluster_status(address)
    return sum(node.node_id != FAKE_HEAD_NODE_ID for node in status.active_nodes + status.idle_nodes)
