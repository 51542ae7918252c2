"""The types of nodes that a cluster file defines: how many there may be, their resources and their price."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class NodeType:
    """Nodes of one type.

    Args:
        name: the type's name in the cluster file.
        max_count: nodes of the type that there may be.
        resources: a node's resources, as Ray counts them.
        instance_type: the cloud's name of the machine; empty outside a cloud.
        spot: whether the nodes are spot instances.
        price: dollars per hour; None if unknown.
    """

    name: str
    max_count: int
    resources: Mapping[str, float]
    instance_type: str = ""
    spot: bool = False
    price: float | None = None


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
    for quantity, max_count in sorted(types, reverse=True):
        count = min(max_count, remaining)
        total += quantity * count
        remaining -= count
    return total
