"""The kind of device that computes a study's cells. It is part of their names, so it is known before Ray starts.

This module imports neither Ray nor torch until it needs them. A machine without the files of a GPU needs no torch.
"""

import contextlib
import re
import sys
from pathlib import Path

from raysearch.core import UserError
from raysearch.engine.options import cluster_address
from raysearch.studies.design import CPU, GPU, Device

_DEVICES = Path("/dev")
# NVIDIA's devices on servers and on Jetson (but not disks and the memory of the BIOS), those of WSL and of ROCm
_GPU_FILE = re.compile(r"nv(?!me|ram).*|dxg|kfd")
_WITHOUT_BFLOAT16 = {"K80", "P4", "P100", "V100", "T4"}  # as Ray names accelerators


def resolve_gpus(given: float | None, address: str | None) -> float:
    """Return the GPUs of each worker: as many as given, or one if there are any.

    Args:
        given: from the command line; None: not given.
        address: the address of a cluster, which is joined to ask for its GPUs; None: see `cluster_address`.

    Raises:
        UserError: the cluster does not answer.
    """
    if given is not None:
        return given
    if cluster_address(address):
        from raysearch.engine.cluster import capacity, connection

        with connection.connected(address):
            return float(capacity.has_gpu())
    if "torch" not in sys.modules and not _may_have_gpu():
        return 0.0
    import torch

    # A GPU counts even if its driver is too old for torch: the first worker then reports that, and no CPU steps in.
    return float(torch.cuda.device_count() > 0)


def _may_have_gpu() -> bool:
    """Return False if Linux shows no file by which a program could reach a GPU. torch takes two seconds to say so."""
    return sys.platform != "linux" or any(_GPU_FILE.fullmatch(device.name) for device in _DEVICES.iterdir())


def study_device(gpus: float, address: str | None) -> Device:
    """Return the device of cells whose workers have a number of GPUs.

    Args:
        gpus: per worker.
        address: as for `resolve_gpus`. A cluster is joined to look at its GPUs. Those that it has not started yet count
            as recent ones.
    """
    if not gpus:
        return CPU
    if cluster_address(address):
        from raysearch.engine.cluster import capacity, connection

        names: list[str] = []
        with contextlib.suppress(UserError), connection.connected(address):  # without an answer nothing will run
            names = capacity.hardware()["accelerators"]
        return Device(GPU.kind, "float32") if names and _WITHOUT_BFLOAT16.issuperset(names) else GPU
    import torch

    from raysearch.tasks import registry

    try:
        return registry.device_of(torch.device(GPU.kind))
    except (RuntimeError, AssertionError):  # no GPU, or one that torch cannot use
        return GPU
