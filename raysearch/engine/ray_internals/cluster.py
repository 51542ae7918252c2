"""What a running cluster is: its head, and the nodes that its autoscaler may add."""

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray._private import ray_constants
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.experimental.internal_kv import _internal_kv_get

_log = logging.getLogger(__name__)

# A resource of the head alone, of which there is 1. Whatever takes some of it runs on the head.
HEAD_RESOURCE = "node:__internal_head__"
ON_HEAD = {HEAD_RESOURCE: 1e-4}
_ANSWER_SECONDS = 60.0
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Autoscaler:
    """What a cluster's autoscaler may add to the head.

    Args:
        types: for each type of node its resources, as Ray counts them, and how many there may be. Empty: not known.
        max_nodes: nodes of all types together.
    """

    types: tuple[tuple[Mapping[str, float], int], ...] = ()
    max_nodes: int = 0


def autoscaler() -> Autoscaler | None:
    """Return what the cluster's autoscaler may add; None without an autoscaler.

    Ray has no public way to ask. Its autoscaler runs on the head and has a configuration there: a file, or with KubeRay
    the RayCluster object. So a task on the head reads it.
    """
    if not _has_autoscaler():
        return None
    address = ray.get_runtime_context().gcs_address
    reading = _read_autoscaler_config.options(resources=ON_HEAD).remote(int(address.rpartition(":")[2]))
    try:
        return ray.get(reading, timeout=_ANSWER_SECONDS)
    except ray.exceptions.RayError as error:  # the head has another raysearch, or none
        _log.info("the head does not report which nodes the autoscaler may add: %s", error)
        return Autoscaler()


def _has_autoscaler() -> bool:
    no_report = "0"
    if get_cluster_status(ray.get_runtime_context().gcs_address).stats.autoscaler_version != no_report:
        return True
    # Before version 2 the autoscaler leaves its status as text. A head that was started without one makes up a type for
    # each node, with this prefix.
    status = json.loads(_internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS) or "{}")
    if not status:  # in a cluster's first seconds; a cluster without CPUs waits for somebody to add nodes
        return not ray.cluster_resources().get("CPU")
    types = status.get("autoscaler_report", {}).get("node_type_mapping", {}).values()
    return any(not name.startswith("node_") for name in types)


@ray.remote(num_cpus=0, max_retries=0)
def _read_autoscaler_config(port: int) -> Autoscaler:
    """Return what the autoscaler on this machine may add to the cluster whose head listens at a port."""
    file = _autoscaler_file(port)
    if file is not None:
        return parse_autoscaler_config(yaml.safe_load(file.read_text(encoding="utf-8")))
    name = os.environ.get("RAY_CLUSTER_NAME")  # KubeRay's
    namespace = _SERVICE_ACCOUNT / "namespace"
    if name is None or not namespace.exists():
        return Autoscaler()
    from ray.autoscaler._private.kuberay.autoscaling_config import AutoscalingConfigProducer

    return parse_autoscaler_config(AutoscalingConfigProducer(name, namespace.read_text().strip())())


def _autoscaler_file(port: int) -> Path | None:
    """Return the configuration file of the autoscaler process of a cluster; None if it has none on this machine."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process ended
            if process.stat().st_uid != os.getuid():
                continue
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            options = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
            if options.get("--gcs-address", "").endswith(f":{port}") and "--autoscaling-config" in options:
                return (process / "cwd").readlink() / Path(options["--autoscaling-config"]).expanduser()
    return None


def parse_autoscaler_config(config: Mapping[str, Any]) -> Autoscaler:
    """Return what an autoscaler with this configuration may add, if it states the CPUs of all nodes.

    Args:
        config: the content of a file for `ray up`, as Ray completes it.
    """
    max_nodes = int(config.get("max_workers", 0))
    sections = config.get("available_node_types") or {}
    types = tuple(
        (dict(section.get("resources") or {}), min(max_nodes, int(section.get("max_workers", max_nodes))))
        for name, section in sections.items()
        if name != config.get("head_node_type")
    )
    if not all("CPU" in resources for resources, _ in types):  # machines of one's own show when they join
        return Autoscaler()
    return Autoscaler(types, max_nodes)


def check_cluster_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cluster file's content as `ray up` completes it, after Ray's own checks. `ray up` has no dry run.

    Args:
        config: the parsed YAML. It is changed.

    Raises:
        Exception: Ray does not accept the file.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


def wait_until_alive(actor: Any, seconds: float) -> None:
    """Return when an actor answers. Ray's public ways to wait need a method of the actor's own that is free.

    Raises:
        ray.exceptions.RayActorError: the actor is dead.
        ray.exceptions.GetTimeoutError: it did not answer in time.
    """
    ray.get(actor.__ray_ready__.remote(), timeout=seconds)
