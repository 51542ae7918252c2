"""The kind of device that computes a study's cells. It is part of their names, so it is known before Ray starts.

This module imports neither Ray nor torch until it needs them.
"""

import contextlib

from raysearch.core import UserError
from raysearch.engine.options import cluster_address
from raysearch.studies.design import CPU, GPU, Device

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
    import torch

    # A GPU counts even if its driver is too old for torch: the first worker then reports that, and no CPU steps in.
    return float(torch.cuda.device_count() > 0)


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
