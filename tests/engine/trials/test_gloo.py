"""The network interface of workers on several machines."""

import os
import socket
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import ray

from raysearch.engine.trials import gloo
from raysearch.engine.trials.gloo import MultiNodeTorchConfig, find_interface

VARIABLE = "GLOO_SOCKET_IFNAME"


class Group:
    """Stands for Ray Train's worker group: runs everything here, on machines with these addresses in turn."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    def execute(self, what: Callable[[], Any]) -> list[Any]:
        if what is ray.util.get_node_ip_address:
            return self._addresses
        return [what() for _ in self._addresses]


def test_the_interface_that_bears_an_address() -> None:
    """As psutil lists them."""
    listed = {
        address.address: name
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses[:1]
        if address.family == socket.AF_INET
    }
    assert listed
    assert {address: find_interface(address) for address in listed} == listed
    assert find_interface("192.0.2.200") is None


@pytest.mark.parametrize(
    ("addresses", "before", "expected"),
    [
        (["127.0.0.1", "192.0.2.9"], None, "lo"),
        (["127.0.0.1", "127.0.0.1"], None, None),
        (["127.0.0.1", "192.0.2.9"], "eth7", "eth7"),
    ],
    ids=["two machines", "one machine", "the environment says it"],
)
def test_workers_on_several_machines_are_told_it(
    addresses: list[str], before: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, before or "")
    if before is None:
        monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(gloo._TorchBackend, "on_start", lambda *_: None)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    MultiNodeTorchConfig().backend_cls().on_start(Group(addresses), MultiNodeTorchConfig())
    assert os.environ.get(VARIABLE) == expected
