"""How the workers of a group reach each other: the network between several machines, and the time limit.

Gloo listens at the address of the machine's own name. Debian and Ubuntu set that to 127.0.1.1, and a name without an
address is 127.0.0.1, so workers on other machines do not reach it. NCCL takes the first interface it finds, which may
be a bridge of containers. Ray knows the address at which other machines reach this one. Both are given the network
interface of that address, unless GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME is set. Workers on one machine are left
alone: the loopback stays when a network comes and goes.
"""

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig

COLLECTIVE_SECONDS = 300  # after which a rank that waits for another gives up; torch's own limit is half an hour
_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_SIOCGIFADDR = 0x8915  # Linux: an interface's address
_REQUEST = struct.Struct("16s16x8x")  # struct ifreq: the name; in the answer, the address at byte 20


@dataclass
class MultiNodeTorchConfig(BackendConfig):
    """Ray Train's configuration of torch, for workers that reach each other from machine to machine.

    It stands for Ray Train's own `TorchConfig`, whose module imports torch. A group of one worker is started by a
    process without torch.

    Args:
        timeout_s: seconds after which a rank that waits for another gives up.
        on_gpus: whether the workers have GPUs.
    """

    timeout_s: int = COLLECTIVE_SECONDS
    on_gpus: bool = False

    @property
    def backend_cls(self) -> type[Any]:
        """The backend class that Ray Train starts and stops worker groups with."""
        return _MultiNodeBackend

    @property
    def train_func_context(self) -> Callable[[], contextlib.AbstractContextManager[None]]:
        """The context of the train loop in a worker: that of `TorchConfig`, which chooses the GPU."""
        return _torch_context

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, which Ray Train exports."""
        return asdict(self)


class _MultiNodeBackend(Backend):
    share_cuda_visible_devices = True  # as Ray Train's backend of torch has it

    def on_start(self, worker_group: Any, backend_config: MultiNodeTorchConfig) -> None:
        """Choose each worker's network interface if the group spans nodes, then set up the process group.

        A GPU that torch cannot use is reported before NCCL meets it, whose message would not name the driver. A single
        worker needs no process group. Torch would listen for others at every address of the machine, without a token.
        """
        if backend_config.on_gpus:
            worker_group.execute(_require_cuda)
        if len(set(worker_group.execute(ray.util.get_node_ip_address))) > 1:
            worker_group.execute(_choose_interface)
        if len(worker_group) > 1:
            torch_config = _torch_config(backend_config)
            torch_config.backend_cls().on_start(worker_group, torch_config)

    def on_shutdown(self, worker_group: Any, backend_config: MultiNodeTorchConfig) -> None:
        """End the process group, if there is one."""
        if len(worker_group) > 1:
            torch_config = _torch_config(backend_config)
            torch_config.backend_cls().on_shutdown(worker_group, torch_config)


def _torch_config(config: MultiNodeTorchConfig) -> Any:
    """Return Ray Train's configuration of torch."""
    from ray.train.torch import TorchConfig

    return TorchConfig(backend="nccl" if config.on_gpus else "gloo", timeout_s=config.timeout_s)


@contextlib.contextmanager
def _torch_context() -> Iterator[None]:
    from ray.train.torch import TorchConfig

    with TorchConfig().train_func_context():
        yield


def _require_cuda() -> None:
    from raysearch.engine.trials import device

    device.require_cuda()


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
