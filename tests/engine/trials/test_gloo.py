"""The network interface of workers on several machines."""

import os
import socket
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import ray
import torch
from ray.train.torch import TorchConfig

from raysearch.engine.trials.device import DeviceLost
from raysearch.engine.trials.gloo import MultiNodeTorchConfig, find_interface

VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


class Group:
    """Stands for Ray Train's worker group: runs everything here, on machines with these addresses in turn."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    def __len__(self) -> int:
        return len(self._addresses)

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
    for variable in VARIABLES:
        monkeypatch.setenv(variable, before or "")
        if before is None:
            monkeypatch.delenv(variable)
    monkeypatch.setattr(TorchConfig().backend_cls, "on_start", lambda *_: None)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    MultiNodeTorchConfig().backend_cls().on_start(Group(addresses), MultiNodeTorchConfig())
    assert [os.environ.get(variable) for variable in VARIABLES] == [expected, expected]


def test_a_rank_does_not_wait_half_an_hour_for_another() -> None:
    assert MultiNodeTorchConfig().timeout_s == 300
    assert MultiNodeTorchConfig().to_dict()["timeout_s"] == 300


def test_a_gpu_that_torch_cannot_use_is_reported_before_nccl_meets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def _refuse() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12020).\nPlease update")

    monkeypatch.setattr(torch.cuda, "init", _refuse)
    monkeypatch.setattr(TorchConfig().backend_cls, "on_start", lambda *_: pytest.fail("NCCL was started"))
    config = MultiNodeTorchConfig(on_gpus=True)
    with pytest.raises(DeviceLost, match=r"cannot be used by torch .*: The NVIDIA driver on your system is too old"):
        config.backend_cls().on_start(Group(["127.0.0.1"]), config)


@pytest.mark.parametrize(("workers", "started"), [(1, []), (2, [2])])
def test_a_single_worker_opens_no_port(workers: int, started: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's process group listens at every address of the machine, and asks nobody for a token."""
    groups: list[int] = []
    monkeypatch.setattr(TorchConfig().backend_cls, "on_start", lambda _, group, config: groups.append(len(group)))
    MultiNodeTorchConfig().backend_cls().on_start(Group(["127.0.0.1"] * workers), MultiNodeTorchConfig())
    assert groups == started
