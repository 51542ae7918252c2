"""Checks of a file of KubeRay objects, and the node types that it defines; see clusters/kuberay.yaml."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from raysearch.core import UserError
from raysearch.engine.cluster import prices
from raysearch.engine.preflight.node_types import NodeType
from raysearch.engine.preflight.ray_yaml import open_placeholders

_BYTES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_GPU = "nvidia.com/gpu"

Objects = Mapping[str, Mapping[str, Any]]  # by kind


def read_objects(path: Path) -> Objects | None:
    """Return the objects of a file by kind; None if it has no RayCluster, as a file for `ray up`.

    Raises:
        UserError: the file cannot be read, or is not YAML.
    """
    try:
        contents = yaml.safe_load_all(path.read_text(encoding="utf-8"))
        documents = [document for document in contents if isinstance(document, dict)]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    by_kind = {str(document["kind"]): document for document in documents if "kind" in document}
    return by_kind if "RayCluster" in by_kind else None


def find_problems(objects: Objects) -> list[str]:
    """Return one line for each problem."""
    problems = [f"<{name}> is not filled in" for name in open_placeholders(list(objects.values()))]
    cluster = objects["RayCluster"]
    spec = cluster.get("spec") or {}
    if (spec.get("authOptions") or {}).get("mode") != "token":
        problems.append("RayCluster: authOptions needs mode: token; without it anyone who reaches Ray can run code")
    head = spec.get("headGroupSpec") or {}
    if head.get("serviceType", "ClusterIP") != "ClusterIP" or head.get("enableIngress"):
        problems.append("RayCluster: the head's service is open to others; use serviceType: ClusterIP, and no ingress")
    policy = (objects.get("NetworkPolicy") or {}).get("spec") or {}
    name = (cluster.get("metadata") or {}).get("name")
    if (policy.get("podSelector") or {}).get("matchLabels") != {"ray.io/cluster": name}:
        problems.append(f"NetworkPolicy: none selects ray.io/cluster: {name}; every pod can reach the cluster's ports")
    return problems


def node_types(objects: Objects) -> list[NodeType]:
    """Return the types of pods, the head first."""
    spec = objects["RayCluster"].get("spec") or {}
    head = (spec.get("headGroupSpec") or {}, "head", 1)
    workers = [
        (group, str(group.get("groupName")), int(group.get("maxReplicas", 0))) for group in spec["workerGroupSpecs"]
    ]
    return [
        NodeType(name, max_count, dict(_resources(group)), price=prices.price_of_node(group.get("labels") or {}))
        for group, name, max_count in [head, *workers]
    ]


def _resources(group: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the resources that Ray counts on a pod: its limits, unless `rayStartParams` sets them."""
    limits = group["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {})
    start = group.get("rayStartParams") or {}
    yield "CPU", float(start.get("num-cpus", parse_quantity(str(limits.get("cpu", 0)))))
    yield "GPU", float(start.get("num-gpus", parse_quantity(str(limits.get(_GPU, 0)))))


def parse_quantity(text: str) -> float:
    """Return a Kubernetes quantity as a number.

    >>> parse_quantity("7"), parse_quantity("500m"), parse_quantity("2Gi")
    (7.0, 0.5, 2147483648.0)
    """
    for unit, size in _BYTES.items():
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * size
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)
