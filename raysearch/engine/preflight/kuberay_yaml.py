"""Checks of a file of KubeRay objects, and the node types that it defines; see clusters/kuberay.yaml."""

import ipaddress
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
_METADATA_SERVICES = tuple(
    map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"))
)

Objects = Mapping[str, Mapping[str, Any]]  # by kind


def read_objects(path: Path) -> Objects | None:
    """Return the objects of a file by kind; None if it has no RayCluster, as a file for `ray up`.

    Raises:
        UserError: the file cannot be read, is not YAML, or holds several clusters.
    """
    try:
        contents = yaml.safe_load_all(path.read_text(encoding="utf-8"))
        documents = [document for document in contents if isinstance(document, dict)]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    by_kind: dict[str, Any] = {}
    for number, document in enumerate(documents):
        if "kind" in document:
            kind = str(document["kind"])
            by_kind[kind if kind not in by_kind else f"{kind} {number + 1}"] = document
    if "RayCluster" in by_kind and sum(document.get("kind") == "RayCluster" for document in documents) > 1:
        raise UserError(f"{path} holds several RayClusters; check a file of each")
    policies = [document for document in documents if document.get("kind") == "NetworkPolicy"]
    if len(policies) > 1:
        by_kind["NetworkPolicy"] = _join_policies(policies)
    return by_kind if "RayCluster" in by_kind else None


def find_problems(objects: Objects) -> list[str]:
    """Return one line for each problem.

    Raises:
        UserError: an `ipBlock` is not a network.
    """
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
    else:
        problems += map("NetworkPolicy: {}".format, [*_ingress_problems(policy), *_egress_problems(policy)])
    return problems


def images(objects: Objects) -> dict[str, str]:
    """Return the container images of all objects by where they are used."""
    places = [(kind, place) for kind, content in objects.items() for place in _image_places(content)]
    named: dict[str, str] = {}
    for kind, (path, name, image) in places:
        where = name or path.rpartition(".")[2]
        named[where if where not in named else f"{kind}{path}"] = image  # groups may use the same names
    return named


def _image_places(content: object, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield path, name and image of each container of any object, such as a Pod, a Job or a RayJob."""
    if isinstance(content, Mapping):
        if isinstance(content.get("image"), str):
            yield path, str(content.get("name") or ""), content["image"]
        for key, value in content.items():
            yield from _image_places(value, f"{path}.{key}")
    elif isinstance(content, list):
        for number, item in enumerate(content):
            yield from _image_places(item, f"{path}[{number}]")


def _join_policies(policies: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one policy with the rules of all that select the cluster's pods: what one of them allows is allowed."""
    specs = [policy.get("spec") or {} for policy in policies]
    labels = [(spec.get("podSelector") or {}).get("matchLabels") or {} for spec in specs]
    cluster = next((entry for entry in labels if "ray.io/cluster" in entry), labels[-1])
    joined = [spec for spec, entry in zip(specs, labels, strict=True) if entry.items() <= cluster.items()]
    fields = ("policyTypes", "ingress", "egress")
    rules = {field: [item for spec in joined for item in spec.get(field) or []] for field in fields}
    return {**policies[0], "spec": {"podSelector": {"matchLabels": cluster}, **rules}}


def _ingress_problems(policy: Mapping[str, Any]) -> Iterator[str]:
    """Check that no rule opens ports to pods of any namespace, or to any address."""
    for rule in policy.get("ingress") or []:
        peers = rule.get("from") or []
        if not peers:
            yield "an ingress rule without `from` opens the ports to everyone"
        for peer in peers:
            if "namespaceSelector" in peer and not _selects(peer["namespaceSelector"]):
                yield (
                    "an ingress rule has namespaceSelector: {}; a pod of any namespace can wear the label it asks for. "
                    "Name the operator's: matchLabels: { kubernetes.io/metadata.name: kuberay }"
                )
            if "ipBlock" in peer and (block := _network(peer["ipBlock"].get("cidr"))).prefixlen == 0:
                yield f"an ingress rule opens the ports to {block}"


def _egress_problems(policy: Mapping[str, Any]) -> Iterator[str]:
    """Check that pods cannot reach a metadata service, which gives them the rights of their machine.

    A rule for the service's address alone is deliberate: on GKE, it gives a pod only the rights of its own account.
    """
    if "Egress" not in (policy.get("policyTypes") or []):
        yield "policyTypes has no Egress; pods can reach the metadata service. Take the rules of clusters/kuberay.yaml"
        return
    for rule in policy.get("egress") or []:
        peers = rule.get("to") or []
        if not peers:
            yield "an egress rule without `to` lets pods reach the metadata service"
        for peer in peers:
            if "ipBlock" not in peer:
                continue
            block = _network(peer["ipBlock"].get("cidr"))
            if block.num_addresses == 1:
                continue
            left_out = list(map(_network, peer["ipBlock"].get("except") or []))
            open_services = [
                str(service)
                for service in _METADATA_SERVICES
                if service in block and not any(service in network for network in left_out)
            ]
            if open_services:
                addresses = ", ".join(open_services)
                yield f"the egress rule for {block} lets pods reach a metadata service; leave out {addresses}"


def _selects(selector: Mapping[str, Any] | None) -> bool:
    return bool(selector and (selector.get("matchLabels") or selector.get("matchExpressions")))


def _network(text: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(str(text), strict=False)
    except ValueError as error:
        raise UserError(f"NetworkPolicy: ipBlock: {error}") from None


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
