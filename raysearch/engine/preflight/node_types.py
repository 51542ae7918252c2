"""The kinds of nodes that a cluster's file would make: how many, what Ray counts on them, what they cost."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.engine.cluster import prices


@dataclass(frozen=True)
class NodeType:
    """Nodes of one kind that a cluster may have."""

    name: str
    most: int  # nodes
    resources: Mapping[str, float]  # as Ray counts them
    instance_type: str = ""  # of a cloud
    spot: bool = False
    price: float | None = None  # dollars an hour; None where nobody has said


def node_types(config: Mapping[str, Any]) -> list[NodeType]:
    """The kinds of nodes of a file for `ray up`, the head first; its workers without a limit have the cluster's.

    >>> workers = {"max_workers": 3, "resources": {}, "node_config": {"InstanceType": "g6.2xlarge"}}
    >>> kinds = {"head": {"resources": {"CPU": 0}}, "gpu": workers}
    >>> node_types({"head_node_type": "head", "max_workers": 2, "available_node_types": kinds})[1].most
    2
    """
    found = []
    all_together = config.get("max_workers", 2)
    for name, kind in config.get("available_node_types", {}).items():
        node = kind.get("node_config") or {}
        instance = node.get("InstanceType", "")
        machine = prices.machine_types().get(instance)
        own = {"CPU": machine.vcpus, "GPU": machine.gpus} if machine else {}
        head = name == config.get("head_node_type")
        most = 1 if head else min(kind.get("max_workers", all_together), all_together)
        spot = (node.get("InstanceMarketOptions") or {}).get("MarketType") == "spot"
        price = prices.price_of_node({prices.TYPE_LABEL: instance, **(kind.get("labels") or {})})
        found.append(NodeType(name, most, {**own, **(kind.get("resources") or {})}, instance, spot, price))
    return sorted(found, key=lambda one: one.name != config.get("head_node_type"))


def largest_total(kinds: Iterable[tuple[float, int]], nodes: int) -> float:
    """The largest sum of a figure that a cluster may come to: the kinds that have most of it, as far as they go.

    Args:
        kinds: the figure of a node, and how many of its kind there may be.
        nodes: that there may be together.

    >>> most_of([(1.0, 8), (3.0, 2)], 4)
    8.0
    """
    total, left = 0.0, nodes
    for figure, most in sorted(kinds, reverse=True):
        total += figure * min(most, left)
        left -= min(most, left)
    return total
