"""The types of nodes that a cluster file defines: how many there may be, their resources and their price."""

from collections.abc import Mapping
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
