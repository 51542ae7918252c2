"""From the host's memory to a device without waiting: pinned buffers, and one transfer for many small tensors.

A copy from ordinary memory waits for the queue of a GPU. A copy from pinned memory joins that queue, so the host goes
on. Pinned memory is reused only after the copies from it have ended; torch's allocator sees to that.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from raysearch.data.feed.image_set import Pixels, Prefetched

_ALIGNMENT = 16  # bytes; a view of packed bytes as a wider type has to begin at a multiple of its size


def pinned_buffer(shape: Sequence[int], device: torch.device) -> Tensor:
    """Return an uninitialized uint8 tensor on the host; pinned if `device` is a GPU, which then copies from it."""
    return torch.empty(tuple(shape), dtype=torch.uint8, pin_memory=device.type == "cuda")


def upload(tensors: Sequence[Tensor], device: torch.device) -> tuple[Tensor, ...]:
    """Copy host tensors of any types and shapes to a device, in one transfer that the host does not wait for.

    Args:
        tensors: on the host.
        device: the device of the copies. On a CPU the tensors are returned unchanged.

    Example:
        >>> [copy.shape for copy in upload([torch.zeros(3, 0), torch.ones(2, 5)], torch.device("meta"))]
        [torch.Size([3, 0]), torch.Size([2, 5])]
    """
    if device.type == "cpu":
        return tuple(tensors)
    sizes = [-(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT for tensor in tensors]
    *starts, total = accumulate(sizes, initial=0)
    packed = pinned_buffer((total,), device)
    for tensor, start in zip(tensors, starts, strict=True):
        packed[start : start + tensor.nbytes] = tensor.contiguous().flatten().view(torch.uint8)
    moved = packed.to(device, non_blocking=True)
    return tuple(
        moved[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for tensor, start in zip(tensors, starts, strict=True)
    )


def gather_images(pixels: Pixels, numbers: np.ndarray, buffer: Tensor) -> None:
    """Write images into a buffer on the host.

    Args:
        pixels: (n, side, side, 3) uint8, an array or a stream.
        numbers: (B,) int64 rows of `pixels`.
        buffer: (B, side, side, 3) uint8.

    Raises:
        IndexError: a row that does not exist.
    """
    if isinstance(pixels, Prefetched):
        buffer.numpy()[:] = pixels[numbers]
        return
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < pixels.shape[0]:
        raise IndexError(f"rows {numbers.min()} to {numbers.max()} of {pixels.shape[0]} images")
    # The rows are known to exist. With mode="raise", NumPy would write to a buffer of its own first.
    np.take(pixels, numbers, axis=0, out=buffer.numpy(), mode="clip")  # type: ignore[call-overload]
