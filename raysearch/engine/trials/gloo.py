"""How the workers of a group reach each other: the network between several machines, and the time limit.

Gloo listens at the address of the machine's own name. Debian and Ubuntu set that to 127.0.1.1, and a name without an
address is 127.0.0.1, so workers on other machines do not reach it. NCCL takes the first interface it finds, which may
be a bridge of containers. Ray knows the address at which other machines reach this one. Both are given the network
interface of that address, unless GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME is set. Workers on one machine are left
alone: the loopback stays when a network comes and goes.
"""

import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

import ray
import ray.train.torch

from raysearch.engine.trials.device import require_cuda

COLLECTIVE_SECONDS = 300  # after which a rank that waits for another gives up; torch's own limit is half an hour
_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_SIOCGIFADDR = 0x8915  # Linux: an interface's address
_REQUEST = struct.Struct("16s16x8x")  # struct ifreq: the name; in the answer, the address at byte 20
_TorchBackend: Any = ray.train.torch.TorchConfig().backend_cls


@dataclass
class MultiNodeTorchConfig(ray.train.torch.TorchConfig):
    """Ray Train's configuration of torch, for workers that reach each other from machine to machine.

    Args:
        backend: see `TorchConfig`, as for the other arguments that are not here.
        timeout_s: seconds after which a rank that waits for another gives up.
        on_gpus: whether the workers have GPUs.
    """

    timeout_s: int = COLLECTIVE_SECONDS
    on_gpus: bool = False

    @property
    def backend_cls(self) -> type[Any]:
        """The backend class that Ray Train starts and stops worker groups with."""
        return _MultiNodeBackend


class _MultiNodeBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Choose each worker's network interface if the group spans nodes, then set up the process group.

        A GPU that torch cannot use is reported before NCCL meets it, whose message would not name the driver. A single
        worker needs no process group. Torch would listen for others at every address of the machine, without a token.
        """
        if backend_config.on_gpus:
            worker_group.execute(require_cuda)
        if len(set(worker_group.execute(ray.util.get_node_ip_address))) > 1:
            worker_group.execute(_choose_interface)
        if len(worker_group) > 1:
            super().on_start(worker_group, backend_config)


def _choose_interface() -> None:
    interface = find_interface(ray.util.get_node_ip_address())
    if interface is not None:
        for variable in _VARIABLES:
            os.environ.setdefault(variable, interface)


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
