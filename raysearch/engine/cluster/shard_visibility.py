"""Which nodes of a cluster see the driver's directory of shards: a path of one machine need not be one of another.

Nodes without CPUs decode nothing and are not asked. Stores are seen by all of them, or by none for a reason that the
first one to read says better.
"""

from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysearch.data.shards import MANIFEST
from raysearch.storage import Location

_ANSWER_SECONDS = 120.0  # a node that is slower, or dies meanwhile, is taken for one that does not see it


def nodes_without(directory: Location) -> list[str]:
    """Addresses of the nodes that would decode and do not see it.

    Args:
        directory: of shards, which this process sees.
    """
    path = directory.local
    if path is None:
        return []
    expected, here = (path / MANIFEST).read_bytes(), ray.get_runtime_context().get_node_id()
    asked = {
        _asked_on(node["NodeID"], path.resolve() / MANIFEST): node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1 and node["NodeID"] != here
    }
    ready, _ = ray.wait([*asked], num_returns=len(asked), timeout=_ANSWER_SECONDS) if asked else ([], [])
    return sorted({address for answer, address in asked.items() if answer not in ready or not _same(answer, expected)})


def _asked_on(node: str, path: Path) -> ray.ObjectRef:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return _read.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(path)


@ray.remote
def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _same(answer: ray.ObjectRef, expected: bytes) -> bool:
    try:
        return ray.get(answer) == expected
    except ray.exceptions.RayError:  # the node has died
        return False
