"""The Ray cluster of a run: joined by address, or started on this machine and stopped again; and what fits on it."""

import contextlib
import logging
import os
import platform
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private.state import state as ray_state

from raysearch.errors import UserError

_CONNECT_SECONDS = 5.0
_MANY = 1000  # nodes, where the autoscaler has no limit
_PORT_VARIABLE = "RAY_GCS_SERVER_PORT"
_LOOK_SECONDS = 2.0  # between two looks at the cluster's nodes


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Join a cluster, or start Ray on this machine with all its CPUs and GPUs and stop it at the end.

    Args:
        address: of the cluster; None is what `RAY_ADDRESS` says, as inside `ray job submit`, or this machine.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():  # whoever connected before looks after it
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Trial actors, mailboxes and controllers idle beside the workers; Ray's threshold to warn of many is the CPU count.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "8")
    for name in ("ray.data", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address:
        _check_answers(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"no Ray cluster answers at '{address}': {error}") from None
    else:
        _start_local(quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _start_local(quiet: Mapping[str, Any]) -> None:
    """Start Ray on this machine, beside whatever other Ray runs here.

    Ray's processes look for their own cluster's address among all on the machine, and give up, after a minute, when
    there are several; so they are told it, for which its port has to be chosen beforehand.
    """
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    address = f"{ray.util.get_node_ip_address()}:{port}"
    before = os.environ.get(_PORT_VARIABLE)
    os.environ[_PORT_VARIABLE] = port
    try:
        # "local" starts a cluster even if the file of a dead one is still in Ray's temporary folder
        ray.init(
            address="local",
            include_dashboard=False,
            runtime_env={"env_vars": {"RAY_ADDRESS": address}},
            **quiet,
        )
    finally:
        os.environ.pop(_PORT_VARIABLE)
        if before is not None:
            os.environ[_PORT_VARIABLE] = before


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes to reach a host that does not answer."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isdigit()):
        return  # "auto" and the like are Ray's to resolve
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at --address '{address}': {error.strerror or error}") from None


@dataclass(frozen=True)
class Demand:
    """What a worker group asks for."""

    workers: int = 1
    cpus: int = 1  # a worker
    gpus: float = 0.0  # a worker


class Slots:
    """How many worker groups fit on the cluster at once, looked up again now and then: nodes come and go.

    Args:
        demand: of a group.
        limit: the user's cap.

    Raises:
        UserError: not even one fits, not even when the autoscaler has added all it may.
    """

    def __init__(self, demand: Demand, limit: int | None = None) -> None:
        self._demand, self._limit = demand, limit
        places = _places_on_cluster(demand)
        if places < demand.workers:
            need = f"{demand.workers} workers of {demand.cpus} CPU"
            need += f" and {demand.gpus:g} GPU" if demand.gpus else ""
            raise UserError(f"a trial needs {need}; the cluster has room for {places} such workers")
        self._looked, self._fitting = time.monotonic(), places // demand.workers

    def __call__(self) -> int:
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            # While nodes are away one group waits for them.
            self._looked = time.monotonic()
            self._fitting = max(1, _places_on_cluster(self._demand) // self._demand.workers)
        return min(self._fitting, self._limit) if self._limit else self._fitting


def _places_on_cluster(demand: Demand) -> int:
    """Workers that fit on the nodes that are there, or on those that the autoscaler may have, if these are more."""
    alive = sum(_places(node["Resources"], demand) for node in ray.nodes() if node["Alive"])
    config = ray_state.get_cluster_config()  # None where no autoscaler has said what it may add
    groups = config.node_group_configs if config else ()
    unlimited = -1  # of `max_count`
    counts = [_MANY if group.max_count == unlimited else group.max_count for group in groups]
    possible = sum(_places(dict(group.resources), demand) * n for group, n in zip(groups, counts, strict=True))
    return max(alive, possible)


def _places(resources: Mapping[str, float], demand: Demand) -> int:
    """Workers that fit on a node."""
    places = int(resources.get("CPU", 0) // demand.cpus)
    if demand.gpus:
        whole = resources.get("GPU", 0)
        # A worker's share of a GPU lies on one GPU.
        share = int(whole) * int(1 / demand.gpus + 1e-9) if demand.gpus < 1 else int(whole // demand.gpus)
        places = min(places, share)
    return places


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
