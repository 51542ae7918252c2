"""The device of the tests of models: `RAYSEARCH_TEST_DEVICE` is "cpu" (the default), "cuda" or "emulated".

On another device than the CPU, each tensor that a test makes is made on the CPU and moved, so its numbers are the same.
`Tensor.numpy` copies back. Some tests are for the CPU alone, such as those of autocast on it; the benchmark `gpu_check`
runs the files that work on any device.
"emulated" is `raysearch.testing.EmulatedDevice`, which needs no GPU.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from raysearch.testing import EmulatedDevice

NAME = os.environ.get("RAYSEARCH_TEST_DEVICE", "cpu")
_MAKERS: set[Callable[..., Any]] = {
    torch.arange,
    torch.as_tensor,
    torch.empty,
    torch.eye,
    torch.from_numpy,
    torch.full,
    torch.linspace,
    torch.ones,
    torch.rand,
    torch.randint,
    torch.randn,
    torch.randperm,
    torch.tensor,
    torch.zeros,
}


class _Moved(TorchFunctionMode):
    """Moves tensors to a device where they are made, unless the caller names a device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is Tensor.numpy:
            return args[0].cpu().numpy()
        made = func(*args, **named)
        if func not in _MAKERS or named.get("device") is not None or not isinstance(made, Tensor):
            return made
        return made.detach().to(self._device).requires_grad_(made.requires_grad)


@contextlib.contextmanager
def test_device() -> Iterator[None]:
    """Run a test's code on the device of the environment."""
    if NAME == "cpu":
        yield
    elif NAME == "emulated":
        with EmulatedDevice(), _Moved(torch.device("meta")):
            yield
    else:
        device = torch.device(NAME)
        convolutions = torch.backends.cudnn.conv.fp32_precision
        torch.backends.cudnn.conv.fp32_precision = "ieee"
        with _Moved(device):
            yield
        torch.backends.cudnn.conv.fp32_precision = convolutions
