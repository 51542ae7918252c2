"""Computing in single precision or better, whatever surrounds the call.

Losses and code updates are sums over thousands of small products, and a sign decides a bit: bfloat16, which an autocast
region would choose for the matrix products, is too coarse for them.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Call `function`, which takes at least one tensor, with autocast switched off.

    >>> product = full_precision(torch.matmul)
    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     product(torch.ones(2, 2), torch.ones(2, 2)).dtype
    torch.float32
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        device = next(value.device for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(device.type, enabled=False):
            return function(*args, **kwargs)

    return guarded


def at_least_single(values: Tensor) -> Tensor:
    """Widen half-precision floats to float32 and leave the others."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
