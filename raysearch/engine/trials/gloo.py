"""The network by which workers on several machines reach each other.

Gloo listens at the address of the machine's own name. Debian and Ubuntu set that to 127.0.1.1, and a name without an
address is 127.0.0.1, so workers on other machines do not reach it. Ray knows the address at which other machines reach
this one. Gloo is given the network interface of that address, unless GLOO_SOCKET_IFNAME is set. Workers on one machine
are left alone: the loopback stays when a network comes and goes.
"""

import fcntl
import os
import socket
import struct
from typing import Any

import ray
import ray.train.torch

_VARIABLE = "GLOO_SOCKET_IFNAME"
_SIOCGIFADDR = 0x8915  # Linux: an interface's address
_REQUEST = struct.Struct("16s16x8x")  # struct ifreq: the name; in the answer, the address at byte 20
_TorchBackend: Any = ray.train.torch.TorchConfig().backend_cls


class MultiNodeTorchConfig(ray.train.torch.TorchConfig):
    """Ray Train's configuration of torch, for workers that reach each other from machine to machine."""

    @property
    def backend_cls(self) -> type[Any]:
        """The backend class that Ray Train starts and stops worker groups with."""
        return _MultiNodeBackend


class _MultiNodeBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Choose each worker's network interface if the group spans nodes, then set up the process group."""
        if len(set(worker_group.execute(ray.util.get_node_ip_address))) > 1:
            worker_group.execute(_choose_interface)
        super().on_start(worker_group, backend_config)


def _choose_interface() -> None:
    interface = find_interface(ray.util.get_node_ip_address())
    if interface is not None:
        os.environ.setdefault(_VARIABLE, interface)


def find_interface(address: str) -> str | None:
    """Return the network interface of this machine that has an IPv4 address; None if none has.

    >>> find_interface("127.0.0.1")
    'lo'
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, _REQUEST.pack(name.encode()))
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None
