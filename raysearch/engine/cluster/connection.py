"""The Ray cluster of a run: joined by address, or started on this machine and stopped again; and what fits on it."""

import contextlib
import logging
import math
import os
import platform
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from raysearch.core import environment
from raysearch.core.errors import UserError
from raysearch.engine import ray_internals
from raysearch.engine.options import cluster_address

_CONNECT_SECONDS = 5.0
_MANY = 1000  # nodes, where the autoscaler has no limit
_LOOK_SECONDS = 2.0  # between two looks at the cluster's nodes
_SMALLEST_SHARE = 10_000  # Ray counts resources in ten thousandths


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Join a cluster, or start Ray on this machine with all its CPUs and GPUs and stop it at the end.

    Args:
        address: of the cluster; None is what `RAY_ADDRESS` says, or this machine.
    """
    address = cluster_address(address)
    if ray.is_initialized():  # whoever connected before looks after it
        yield
        return
    for name, value in ray_internals.DRIVER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("ray.data", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address:
        # Ray prefers what the environment says to the address that it is given.
        with environment.variables_set({"RAY_ADDRESS": address}):
            _join(address, quiet)
            yield from _until_shutdown()
    else:
        _start_local(quiet)
        yield from _until_shutdown()


def _until_shutdown() -> Iterator[None]:
    try:
        yield
    finally:
        ray.shutdown()


def _start_local(quiet: Mapping[str, Any]) -> None:
    """Start Ray on this machine, beside whatever other Ray runs here.

    Ray's processes look for their own cluster's address among all on the machine, and give up, after a minute, when
    there are several; so they are told it, for which its port has to be chosen beforehand.
    """
    for name, value in ray_internals.LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    port = free_port()
    address = f"{ray.util.get_node_ip_address()}:{port}"
    with environment.variables_set({ray_internals.HEAD_PORT: str(port)}):
        try:
            # "local" starts a cluster even if the file of a dead one is still in Ray's temporary folder
            ray.init(
                address="local",
                include_dashboard=False,
                runtime_env={"env_vars": {"RAY_ADDRESS": address}},
                **quiet,
            )
        except Exception as error:  # of no class of its own when a busy machine lets Ray's processes wait too long
            raise UserError(f"Ray did not start on this machine: {str(error).splitlines()[0]}") from error


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


def _join(address: str, quiet: Mapping[str, Any]) -> None:
    if address.startswith("ray://"):
        raise UserError(f"--address '{address}': Ray Client cannot run a study; use ray job submit on the cluster")
    _check_answers(address)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        why = str(error.__cause__ or error)
        if "InvalidAuthToken" in why:
            why = "it asks for a token; set RAY_AUTH_MODE=token, with its token in ~/.ray/auth_token"
        raise UserError(f"cannot join the Ray cluster at '{address}': {why.splitlines()[0]}") from None


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes to reach a host that does not answer."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit()):
        return  # "auto" and the like are Ray's to resolve
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at --address '{address}': {error.strerror or error}") from None


@dataclass(frozen=True)
class TrialResources:
    """What a worker group asks for.

    Raises:
        UserError: no GPU can be shared so; Ray gives a share of one, or whole ones.
    """

    workers: int = 1
    cpus: int = 1  # a worker
    gpus: float = 0.0  # a worker
    streams: bool = False  # whether its workers' images are decoded as they are needed, on CPUs that must be free

    def __post_init__(self) -> None:
        whole = self.gpus == 0 or (self.gpus >= 1 and math.isfinite(self.gpus) and self.gpus == int(self.gpus))
        if not whole and not 1 / _SMALLEST_SHARE <= self.gpus < 1:
            raise UserError(f"--gpus-per-worker {self.gpus:g}: give a share of one below 1, or a whole number")


class Slots:
    """How many worker groups may ask for their place at once, looked up again now and then: nodes come and go.

    As many as fit on the cluster. Ray's own autoscaler does not say what it may add, only that it is there: then twice
    as many as fit, at least one, since groups that wait are what it adds nodes for.

    Args:
        demand: of a group.
        limit: the user's cap.

    Raises:
        UserError: not even one fits, and no autoscaler may add nodes.
    """

    def __init__(self, demand: TrialResources, limit: int | None = None) -> None:
        self._demand, self._limit = demand, limit
        self._grows = ray_internals.autoscaler_without_limits()
        places = workers_on_cluster(demand)
        if places < demand.workers and not self._grows:
            need = f"{demand.workers} workers of {demand.cpus} CPU"
            need += f" and {demand.gpus:g} GPU" if demand.gpus else ""
            need += ", and a CPU besides on each node, to decode images on" if demand.streams else ""
            raise UserError(f"a trial needs {need}; the cluster has room for {places} such workers")
        self._looked, self._asking = time.monotonic(), self._count(places)

    def __call__(self) -> int:
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            self._asking = self._count(workers_on_cluster(self._demand))
        return min(self._asking, self._limit) if self._limit else self._asking

    def _count(self, places: int) -> int:
        fitting = places // self._demand.workers
        # While nodes are away one group waits for them.
        return max(1, 2 * fitting if self._grows else fitting)


def workers_on_cluster(demand: TrialResources) -> int:
    """Workers that fit on the nodes that are there, or on those that an autoscaler says it may have, if more."""
    places = {True: 0, False: 0}  # on the head, on other nodes
    for node in ray.nodes():
        if node["Alive"]:
            places["node:__internal_head__" in node["Resources"]] += workers_per_node(node["Resources"], demand)
    possible = sum(
        workers_per_node(resources, demand) * (_MANY if count is None else count)
        for resources, count in ray_internals.node_groups()
    )
    return places[True] + max(places[False], possible)


def workers_per_node(resources: Mapping[str, float], demand: TrialResources) -> int:
    """Workers that fit on a node."""
    cpus = resources.get("CPU", 0)
    places = int((cpus - spare_cpus(cpus) * demand.streams) // demand.cpus)
    if demand.gpus:
        gpus = int(resources.get("GPU", 0))
        # A worker's share of a GPU lies on one GPU.
        share = round(demand.gpus * _SMALLEST_SHARE)
        places = min(places, gpus * (_SMALLEST_SHARE // share) if demand.gpus < 1 else gpus // int(demand.gpus))
    return places


def spare_cpus(cpus: float) -> int:
    """CPUs of a node that workers leave to the decoding of streamed images: a quarter, at least one of two.

    >>> [spare_cpus(cpus) for cpus in (1, 2, 8, 96)]
    [0, 1, 2, 24]
    """
    return max(int(cpus) // 4, int(cpus >= 2))


def has_gpu() -> bool:
    return ray.cluster_resources().get("GPU", 0) > 0


def hardware() -> dict[str, Any]:
    """What the report says of the machines."""
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
    """The processor's name of this node, where the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
