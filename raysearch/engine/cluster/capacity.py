"""What a cluster can hold: the resources of a trial, how many trials fit, and the hardware for the report."""

import contextlib
import logging
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from raysearch.core import UserError
from raysearch.engine import ray_internals

_UNLIMITED = 1000  # nodes, where an autoscaler has no limit
_REFRESH_SECONDS = 2.0  # between two counts of the cluster's nodes
_SMALLEST_SHARE = 10_000  # Ray counts resources in ten thousandths
_HEAD = "node:__internal_head__"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialResources:
    """The resources of a trial's worker group.

    Args:
        workers: Ray Train workers.
        cpus: CPUs per worker.
        gpus: GPUs per worker; below 1 a share of one.
        streams: whether images are decoded on demand, on CPUs that workers must leave free.

    Raises:
        UserError: Ray cannot give such a share of a GPU.
    """

    workers: int = 1
    cpus: int = 1
    gpus: float = 0.0
    streams: bool = False

    def __post_init__(self) -> None:
        whole = self.gpus == 0 or (self.gpus >= 1 and math.isfinite(self.gpus) and self.gpus == int(self.gpus))
        if not whole and not 1 / _SMALLEST_SHARE <= self.gpus < 1:
            raise UserError(f"--gpus-per-worker {self.gpus:g}: use a whole number, or a share of one GPU below 1")


class Slots:
    """The number of worker groups that may ask for resources at once. Nodes come and go, so it is counted again.

    It is the number that fits on the cluster. Ray's own autoscaler does not publish what it may add. With it, the
    number is twice what fits, at least one: it adds nodes because groups wait.

    Args:
        demand: resources of a group.
        limit: the user's limit; None for no limit.

    Raises:
        UserError: no group fits, and no autoscaler may add nodes.
    """

    def __init__(self, demand: TrialResources, limit: int | None = None) -> None:
        self._demand = demand
        self._limit = limit
        self._grows = ray_internals.autoscaler_without_limits()
        workers = workers_on_cluster(demand)
        if workers < demand.workers and not self._grows:
            need = f"{demand.workers} workers of {demand.cpus} CPU"
            need += f" and {demand.gpus:g} GPU" if demand.gpus else ""
            need += ", and a free CPU on each node to decode images" if demand.streams else ""
            raise UserError(f"a trial needs {need}; the cluster has room for {workers} such workers")
        self._counted = time.monotonic()
        self._groups = self._count_groups(workers)
        _log.info("the cluster has room for %d workers: %d trials at a time", workers, self())

    def __call__(self) -> int:
        if time.monotonic() - self._counted > _REFRESH_SECONDS:
            self._counted = time.monotonic()
            self._groups = self._count_groups(workers_on_cluster(self._demand))
        return min(self._groups, self._limit) if self._limit else self._groups

    def _count_groups(self, workers: int) -> int:
        fitting = workers // self._demand.workers
        # While nodes are away, one group waits for them.
        return max(1, 2 * fitting if self._grows else fitting)


def workers_on_cluster(demand: TrialResources) -> int:
    """Return the number of workers that fit on the present nodes, or on those that an autoscaler may have if more."""
    on_head = 0
    on_others = 0
    for node in ray.nodes():
        if node["Alive"]:
            workers = workers_per_node(node["Resources"], demand)
            if _HEAD in node["Resources"]:
                on_head += workers
            else:
                on_others += workers
    possible = sum(
        workers_per_node(resources, demand) * (_UNLIMITED if count is None else count)
        for resources, count in ray_internals.node_groups()
    )
    return on_head + max(on_others, possible)


def workers_per_node(resources: Mapping[str, float], demand: TrialResources) -> int:
    """Return the number of workers that fit on one node.

    Args:
        resources: the node's resources, as Ray counts them: CPU, GPU.
        demand: resources of a worker.
    """
    cpus = resources.get("CPU", 0)
    by_cpu = int((cpus - spare_cpus(cpus) * demand.streams) // demand.cpus)
    if not demand.gpus:
        return by_cpu
    gpus = int(resources.get("GPU", 0))
    if demand.gpus >= 1:
        return min(by_cpu, gpus // int(demand.gpus))
    # A worker's share of a GPU is on one GPU.
    return min(by_cpu, gpus * (_SMALLEST_SHARE // round(demand.gpus * _SMALLEST_SHARE)))


def spare_cpus(cpus: float) -> int:
    """Return the CPUs of a node that workers leave free to decode streamed images: a quarter, at least one of two.

    >>> [spare_cpus(cpus) for cpus in (1, 2, 8, 96)]
    [0, 1, 2, 24]
    """
    return max(int(cpus) // 4, int(cpus >= 2))


def has_gpu() -> bool:
    """Return whether the cluster has a GPU."""
    return ray.cluster_resources().get("GPU", 0) > 0


def hardware() -> dict[str, Any]:
    """Return the cluster's hardware, as `study.json` records it."""
    total = ray.cluster_resources()
    return {
        "cpus": int(total.get("CPU", 0)),
        "gpus": total.get("GPU", 0),
        "memory_gb": round(total.get("memory", 0) / 2**30, 1),
        "nodes": sum(node["Alive"] for node in ray.nodes()),
        "processor": _processor(),
        "accelerators": sorted(name.split(":")[1] for name in total if name.startswith("accelerator_type:")),
    }


def _processor() -> str:
    """Return the name of this node's processor, if the system knows it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
