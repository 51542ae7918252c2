"""A sweep on a head without CPUs: Ray's autoscaler adds nodes because groups wait, and takes idle ones away again."""

import contextlib
import time
from pathlib import Path

import pytest
from ray.autoscaler.v2.sdk import get_cluster_status

from .. import sweeps
from ..heads import FAKE_HEAD_NODE_ID, growing_head

NODES = 2


@pytest.mark.slow
def test_nodes_come_and_go(tmp_path: Path, tiny_data: Path) -> None:
    sweeps.prepare(tmp_path, tiny_data, iterations=8, variants=3, seeds=1)
    with contextlib.ExitStack() as stack:
        head = stack.enter_context(growing_head(tmp_path, {"CPU": 1}, NODES))
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
