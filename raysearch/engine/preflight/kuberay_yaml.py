"""What is wrong with a file of KubeRay objects, and what nodes it would make; see clusters/kuberay.yaml."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from raysearch.core.errors import UserError
from raysearch.engine.cluster import prices
from raysearch.engine.preflight.node_types import NodeType
from raysearch.engine.preflight.ray_yaml import open_placeholders

_BYTES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_GPU = "nvidia.com/gpu"

Objects = Mapping[str, Mapping[str, Any]]  # by kind


def read_objects(path: Path) -> Objects | None:
    """A file's objects; None of a file that is for `ray up`.

    Raises:
        UserError: no such file, or no YAML.
    """
    try:
        found = [one for one in yaml.safe_load_all(path.read_text()) if isinstance(one, dict)]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML: {error}") from None
    by_kind = {str(one["kind"]): one for one in found if "kind" in one}
    return by_kind if "RayCluster" in by_kind else None


def find_problems(objects: Objects) -> list[str]:
    """All that is wrong, a line each."""
    found = [f"<{name}> is still open" for name in open_placeholders(list(objects.values()))]
    cluster = objects["RayCluster"]
    spec = cluster.get("spec") or {}
    if (spec.get("authOptions") or {}).get("mode") != "token":
        found.append("RayCluster: authOptions without mode: token; Ray would run what anybody sends")
    head = spec.get("headGroupSpec") or {}
    if head.get("serviceType", "ClusterIP") != "ClusterIP" or head.get("enableIngress"):
        found.append("RayCluster: the head's service is open to others; serviceType: ClusterIP, and no ingress")
    policy = (objects.get("NetworkPolicy") or {}).get("spec") or {}
    name = (cluster.get("metadata") or {}).get("name")
    if (policy.get("podSelector") or {}).get("matchLabels") != {"ray.io/cluster": name}:
        found.append(f"NetworkPolicy: none for ray.io/cluster: {name}; every pod would reach the cluster's ports")
    return found


def node_types(objects: Objects) -> list[NodeType]:
    """The kinds of pods, the head first."""
    spec = objects["RayCluster"].get("spec") or {}
    head = spec.get("headGroupSpec") or {}
    groups = [(head, "head", 1)]
    groups += [(one, str(one.get("groupName")), int(one.get("maxReplicas", 0))) for one in spec["workerGroupSpecs"]]
    return [
        NodeType(name, most, dict(_resources(group)), price=prices.price_of_node(group.get("labels") or {}))
        for group, name, most in groups
    ]


def _resources(group: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What Ray counts on a pod: its limits, unless `ray start` says otherwise."""
    limits = group["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {})
    start = group.get("rayStartParams") or {}
    yield "CPU", float(start.get("num-cpus", parse_quantity(str(limits.get("cpu", 0)))))
    yield "GPU", float(start.get("num-gpus", parse_quantity(str(limits.get(_GPU, 0)))))


def parse_quantity(text: str) -> float:
    """A quantity as Kubernetes writes it.

    >>> quantity("7"), quantity("500m"), quantity("2Gi")
    (7.0, 0.5, 2147483648.0)
    """
    for unit, size in _BYTES.items():
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * size
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)
