"""Which nodes of a cluster see the driver's directory of shards; a local path may exist on one machine only.

Nodes without CPUs decode nothing and are not asked. Remote stores are not probed: a read error gives a better message.
"""

import logging
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysearch.data.shards import MANIFEST
from raysearch.storage import Location

_ANSWER_SECONDS = 120.0  # a node that is slower, or dies meanwhile, counts as one that does not see the directory
_log = logging.getLogger(__name__)


def nodes_without(directory: Location) -> list[str]:
    """Return the addresses of the nodes that would decode images but do not see the directory.

    Args:
        directory: a directory of shards; this process sees it.
    """
    path = directory.local
    if path is None:
        return []
    expected = (path / MANIFEST).read_bytes()
    this_node = ray.get_runtime_context().get_node_id()
    answers = {
        _read_on(node["NodeID"], path.resolve() / MANIFEST): node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1 and node["NodeID"] != this_node
    }
    if not answers:
        return []
    _log.info("asking %d nodes whether they see %s", len(answers), path)
    ready, _ = ray.wait([*answers], num_returns=len(answers), timeout=_ANSWER_SECONDS)
    return sorted({address for answer, address in answers.items() if answer not in ready or not _is(answer, expected)})


def _read_on(node: str, path: Path) -> ray.ObjectRef:
    on_node = NodeAffinitySchedulingStrategy(node, soft=False)
    return _read_bytes.options(num_cpus=0, max_retries=0, scheduling_strategy=on_node).remote(path)


@ray.remote
def _read_bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _is(answer: ray.ObjectRef, expected: bytes) -> bool:
    try:
        return ray.get(answer) == expected
    except ray.exceptions.RayError:  # the node died
        return False
