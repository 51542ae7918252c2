"""What a cluster can hold: the resources of a trial, how many trials fit, and the hardware for the report."""

import contextlib
import logging
import math
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from raysearch.core import UserError
from raysearch.engine import ray_internals
from raysearch.engine.cluster import memory

_REFRESH_SECONDS = 2.0  # between two counts of the cluster's nodes
_SMALLEST_SHARE = 10_000  # Ray counts resources in ten thousandths
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

    It is the number that fits on the cluster, with the nodes that an autoscaler may add. An autoscaler adds nodes
    because groups wait, so all that will fit ask from the start. If it is not known what the autoscaler may add, the
    number is twice what fits, at least one.

    The actors of all trials run on the head if it has the memory for them, so that a lost node ends its own workers
    only. On a head without that memory they run on any node. Then no more groups wait for nodes to come than the head
    has memory for, since they wait there.

    Args:
        demand: resources of a group.
        limit: the user's limit; None for no limit.

    Attributes:
        on_head: whether trial actors are to run on the head.

    Raises:
        UserError: no group fits, and no autoscaler may add nodes.
    """

    def __init__(self, demand: TrialResources, limit: int | None = None) -> None:
        self._demand = demand
        self._limit = limit
        self._autoscaler = ray_internals.autoscaler()
        self._places = memory.places_on_head()
        self.on_head = False
        workers = workers_on_cluster(demand, self._autoscaler)
        if workers < demand.workers and (self._autoscaler is None or self._autoscaler.types):
            need = f"{demand.workers} workers of {demand.cpus} CPU"
            need += f" and {demand.gpus:g} GPU" if demand.gpus else ""
            need += ", and a free CPU on each node to decode images" if demand.streams else ""
            raise UserError(f"a trial needs {need}; the cluster has room for {workers} such workers")
        wanted = self._count_fitting()
        self.on_head = (min(wanted, limit) if limit else wanted) <= self._places
        self._wanted = wanted
        self._counted = time.monotonic()
        self._groups = self._count_groups()
        _log.info("the cluster has room for %d workers: %d trials at a time", workers, self())

    def __call__(self) -> int:
        if time.monotonic() - self._counted > _REFRESH_SECONDS:
            self._counted = time.monotonic()
            self._groups = self._count_groups()
        return min(self._groups, self._limit) if self._limit else self._groups

    @property
    def small_head(self) -> str | None:
        """What to tell the user if the actors of trials do not fit the head, on a cluster of several nodes."""
        several = self._autoscaler is not None or sum(node["Alive"] for node in ray.nodes()) > 1
        if self.on_head or not several:
            return None
        return (
            f"the head has memory for the actors of {self._places} trials, of {self._wanted} that fit the cluster, so "
            "they run on any node, and a lost node takes its actors along; a larger head, or --concurrency "
            f"{max(1, self._places)}, keeps them safe"
        )

    def _count_groups(self) -> int:
        fitting = self._count_fitting()
        if self.on_head:
            fitting = min(fitting, self._places)
        elif self._autoscaler is not None:
            present = workers_on_cluster(self._demand) // self._demand.workers
            fitting = min(fitting, max(2 * present, self._places))
        return max(1, fitting)  # while nodes are away, one group waits for them

    def _count_fitting(self) -> int:
        fitting = workers_on_cluster(self._demand, self._autoscaler) // self._demand.workers
        grows_unknown = self._autoscaler is not None and not self._autoscaler.types
        return max(1, 2 * fitting if grows_unknown else fitting)


def workers_on_cluster(demand: TrialResources, autoscaler: ray_internals.Autoscaler | None = None) -> int:
    """Return the number of workers that fit on the present nodes, or on those that an autoscaler may have if more.

    Args:
        demand: resources of a worker group.
        autoscaler: what the cluster's autoscaler may add.
    """
    on_head = 0
    on_others = 0
    for node in ray.nodes():
        if node["Alive"]:
            workers = workers_per_node(node["Resources"], demand)
            if ray_internals.HEAD_RESOURCE in node["Resources"]:
                on_head += workers
            else:
                on_others += workers
    if autoscaler is None:
        return on_head + on_others
    types = [(workers_per_node(resources, demand), count) for resources, count in autoscaler.types]
    return on_head + max(on_others, int(largest_total(types, autoscaler.max_nodes)))


def largest_total(types: Iterable[tuple[float, int]], max_nodes: int) -> float:
    """Return the largest sum of a quantity over a cluster's nodes.

    Args:
        types: for each node type, a node's quantity and the largest number of nodes.
        max_nodes: nodes of all types together.

    >>> largest_total([(1.0, 8), (3.0, 2)], 4)
    8.0
    """
    total = 0.0
    remaining = max_nodes
    for quantity, max_count in sorted(types, key=lambda node_type: node_type[0], reverse=True):
        count = min(max_count, remaining)
        total += quantity * count
        remaining -= count
    return total


def workers_per_node(resources: Mapping[str, float], demand: TrialResources) -> int:
    """Return the number of workers that fit on one node.

    Args:
        resources: the node's resources, as Ray counts them: CPU, GPU.
        demand: resources of a worker.
    """
    cpus = resources.get("CPU", 0)
    by_cpu = int((cpus - _spare_cpus(cpus) * demand.streams) // demand.cpus)
    if not demand.gpus:
        return by_cpu
    gpus = int(resources.get("GPU", 0))
    if demand.gpus >= 1:
        return min(by_cpu, gpus // int(demand.gpus))
    # A worker's share of a GPU is on one GPU.
    return min(by_cpu, gpus * (_SMALLEST_SHARE // round(demand.gpus * _SMALLEST_SHARE)))


def decoding_cpus(resources: Mapping[str, float], demand: TrialResources) -> int:
    """Return the CPUs of a node that decode streamed images: those that its workers do not take.

    Args:
        resources: the node's resources, as Ray counts them.
        demand: resources of a worker.

    >>> one_gpu = TrialResources(gpus=1)
    >>> [decoding_cpus(node, one_gpu) for node in ({"CPU": 8, "GPU": 1}, {"CPU": 192, "GPU": 8}, {"CPU": 16})]
    [7, 184, 16]
    >>> decoding_cpus({"CPU": 16}, TrialResources())
    4
    """
    return int(resources.get("CPU", 0)) - workers_per_node(resources, replace(demand, streams=True)) * demand.cpus


def _spare_cpus(cpus: float) -> int:
    """Return the CPUs of a node that workers leave free for streams at least: a quarter, one of two.

    >>> [_spare_cpus(cpus) for cpus in (1, 2, 8, 96)]
    [0, 1, 2, 24]
    """
    return max(int(cpus) // 4, int(cpus >= 2))


def has_gpu() -> bool:
    """Return whether the cluster has a GPU, or a node that its autoscaler may add has one.

    Raises:
        UserError: no node that trains has joined yet, and it is not known which nodes may be added.
    """
    present = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(resources.get("GPU", 0) for resources in present):
        return True
    autoscaler = ray_internals.autoscaler()
    if autoscaler is None:
        return False
    if not autoscaler.types and not any(resources.get("CPU", 0) >= 1 for resources in present):
        raise UserError(
            "no node that trains has joined the cluster yet, and its autoscaler does not show which nodes it may add; "
            "give --gpus-per-worker 1, or --gpus-per-worker 0 to train on CPUs"
        )
    return any(count > 0 and resources.get("GPU", 0) > 0 for resources, count in autoscaler.types)


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
