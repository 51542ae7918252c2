"""The Ray cluster of a run: joined by address, or started on this machine and stopped again; and what fits on it."""

import contextlib
import logging
import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from raysearch.errors import UserError

_CONNECT_SECONDS = 5.0


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Join the cluster at `address`, or start Ray on this machine with all its CPUs and GPUs and stop it at the end."""
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
        # "local" starts a cluster even if the file of a dead one is still in Ray's temporary folder
        ray.init(address="local", include_dashboard=False, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes to reach a host that does not answer."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isdigit()):
        return  # "auto" and the like are Ray's to resolve
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at --address '{address}': {error.strerror or error}") from None


def slots(workers: int, cpus: int, gpus: float, limit: int | None = None) -> int:
    """How many worker groups fit on the cluster at once.

    Args:
        workers: in a group.
        cpus: of a worker.
        gpus: of a worker.
        limit: the user's cap.

    Raises:
        UserError: not even one fits.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    places = sum(_places(node, cpus, gpus) for node in nodes)
    fitting = places // workers
    if fitting == 0:
        need = f"{workers} workers of {cpus} CPU" + (f" and {gpus:g} GPU" if gpus else "")
        raise UserError(f"a trial needs {need}; the cluster has room for {places} such workers")
    return min(fitting, limit) if limit else fitting


def _places(resources: dict[str, float], cpus: int, gpus: float) -> int:
    places = int(resources.get("CPU", 0) // cpus)
    if gpus:
        whole = resources.get("GPU", 0)
        places = min(places, int(whole * int(1 / gpus)) if gpus < 1 else int(whole // gpus))
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
