"""By which network workers on several machines reach each other.

Gloo listens at the address that a machine's own name has. Debian and Ubuntu write 127.0.1.1 there, and where a name has
none it is 127.0.0.1: workers on another machine find nobody. Ray knows the address at which other machines reach this
one, so Gloo is told the network interface that bears it, unless the environment says another (GLOO_SOCKET_IFNAME).
Workers of one machine are left alone: what they have in common lasts when a network comes and goes.
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
_Torch: Any = ray.train.torch.TorchConfig().backend_cls


class MultiNodeTorchConfig(ray.train.torch.TorchConfig):
    """What Ray Train needs to know of torch, with workers that hear each other from machine to machine."""

    @property
    def backend_cls(self) -> type[Any]:
        return _Backend


class _Backend(_Torch):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        if len(set(worker_group.execute(ray.util.get_node_ip_address))) > 1:
            worker_group.execute(_choose_interface)
        super().on_start(worker_group, backend_config)


def _choose_interface() -> None:
    found = find_interface(ray.util.get_node_ip_address())
    if found is not None:
        os.environ.setdefault(_VARIABLE, found)


def find_interface(address: str) -> str | None:
    """The network interface of this machine that bears an IPv4 address; None where none does.

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
