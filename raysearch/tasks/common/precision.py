"""The precision of a run on a GPU: bfloat16 where the config wants it and the GPU has it, or float32 that is exact.

"auto" is bfloat16 on a GPU that computes in it, and float32 elsewhere. Weights stay float32 either way. Half precision
below compute capability 8.0 would be float16, whose gradients need a loss scaler; so these GPUs compute in float32.
"""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

from raysearch.core import UserError

_BFLOAT16_CAPABILITY = (8, 0)  # of the GPUs for which cuDNN has bfloat16 convolutions


def resolve_precision(device: torch.device, precision: str) -> Literal["bfloat16", "float32"]:
    """Return the precision in which a device computes.

    Args:
        device: the device.
        precision: "auto", "bfloat16" or "float32".

    Raises:
        UserError: bfloat16 on a GPU that does not compute in it.
    """
    if precision == "float32" or (precision == "auto" and device.type != "cuda"):
        return "float32"
    if device.type != "cuda" or torch.cuda.get_device_capability(device) >= _BFLOAT16_CAPABILITY:
        return "bfloat16"
    if precision == "auto":
        return "float32"
    raise UserError(
        f"{torch.cuda.get_device_name(device)} does not compute in bfloat16; set train.precision=float32, "
        "or use a GPU of compute capability 8.0 or more"
    )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return a context in which networks compute in a precision. Weights are converted once per context.

    A network must not run without gradients in a context in which it later runs with gradients: the converted weights
    would have none.

    Args:
        device: the device of the networks.
        precision: "auto", "bfloat16" or "float32"; see `resolve_precision`.

    Raises:
        UserError: bfloat16 on a GPU that does not compute in it.
    """
    if device.type not in ("cpu", "cuda") or resolve_precision(device, precision) == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextlib.contextmanager
def exact_float32(device: torch.device, precision: str) -> Iterator[None]:
    """Compute convolutions and products of float32 numbers in float32, where `precision` is "float32".

    By default cuDNN rounds the inputs of convolutions to TF32, which keeps 10 of 23 bits. The context covers backward
    passes that run inside it; the settings of before are restored at its end.

    Args:
        device: the device of the computation; only a GPU rounds.
        precision: "auto", "bfloat16" or "float32"; only "float32" changes anything.
    """
    if device.type != "cuda" or precision != "float32":
        yield
        return
    settings: list[Any] = [torch.backends.cudnn.conv, torch.backends.cuda.matmul]  # type: ignore[attr-defined]
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, precision_before in zip(settings, before, strict=True):
            setting.fp32_precision = precision_before
