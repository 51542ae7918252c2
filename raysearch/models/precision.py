"""Computation in single precision or better, also inside an autocast region.

Losses and code updates are sums over thousands of small products, and a sign decides a bit. Autocast would compute the
matrix products in bfloat16, which is too coarse for them.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap `function`, which takes at least one tensor, so that it runs with autocast switched off.

    >>> product = full_precision(torch.matmul)
    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     product(torch.ones(2, 2), torch.ones(2, 2)).dtype
    torch.float32
    """

    @functools.wraps(function)
    def _guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        device = next(value.device for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
        with torch.autocast(device.type, enabled=False):
            return function(*args, **kwargs)

    return _guarded


def at_least_single(values: torch.Tensor) -> torch.Tensor:
    """Convert half-precision floats to float32; others stay as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
