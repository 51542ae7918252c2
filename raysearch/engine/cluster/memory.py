"""Memory: what this machine can still hand out, and how many trials' actors the head of a cluster holds."""

import contextlib
import os
from pathlib import Path

import ray

from raysearch.engine import ray_internals

SHARED_MEMORY = Path("/dev/shm")
_CGROUP = Path("/sys/fs/cgroup")
# Memory of a trial's actors on the head, measured as proportional set size with Ray 2.60: the trial actor, in which Ray
# Train's controller runs, 146 MB, and the mailbox 66 MB. Neither imports torch. A third is added.
SLOT_BYTES = 280 << 20
_RAY_SHARE = 0.6
_STORE_SHARE = 0.3
_HEAD_BYTES = 2 << 30  # that the head keeps for the driver and for Ray itself


def slurm_share() -> int | None:
    """Return the bytes that the SLURM job of this process has on this machine; None without such a limit."""
    mebibytes = int(os.environ.get("SLURM_MEM_PER_NODE") or 0)
    if not mebibytes:
        per_cpu = int(os.environ.get("SLURM_MEM_PER_CPU") or 0)
        mebibytes = per_cpu * int(os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or 1)
    return mebibytes << 20 or None


def ray_shares(memory: int | None) -> dict[str, int]:
    """Return the bytes that Ray gets of a limit: for actors and tasks, and for objects. The rest is the driver's.

    >>> ray_shares(None)
    {}
    """
    if memory is None:
        return {}
    return {"memory": int(memory * _RAY_SHARE), "object_store_memory": int(memory * _STORE_SHARE)}


def places_on_head() -> int:
    """Return for how many trials the head has the memory that their actors take."""
    for node in ray.nodes():
        if node["Alive"] and ray_internals.HEAD_RESOURCE in node["Resources"]:
            memory = int(node["Resources"].get("memory", 0))
            if node["NodeID"] == ray.get_runtime_context().get_node_id():
                memory = min(memory, free_memory())
            return max(0, memory - _HEAD_BYTES) // SLOT_BYTES
    return 0


def shared_memory_size() -> int | None:
    """Return the bytes that fit in this machine's shared memory; None if it has no such file system."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return status.f_frsize * status.f_blocks


def free_memory() -> int:
    """Return the bytes of memory that this machine, or this container, can still hand out."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError):  # there is no such file outside of Linux
        memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(memory["MemAvailable"].split()[0]) << 10
    with contextlib.suppress(OSError, ValueError):  # outside of a container, or without a limit ("max")
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        in_use = int((_CGROUP / "memory.current").read_text()) - int(statistics["inactive_file"])
        free = min(free, int((_CGROUP / "memory.max").read_text()) - in_use)
    return max(0, free)
