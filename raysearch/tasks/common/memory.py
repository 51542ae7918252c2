"""The memory of a GPU that a worker can still take, and the number of items that fit into a part of it."""

import torch

_FRAGMENTATION = 1.2  # memory that torch takes from a GPU / memory that it gives to tensors


def free_memory(device: torch.device, share: float = 1.0) -> int | None:
    """Return the bytes that this process can still allocate on its GPU; None on any other device.

    Memory that torch holds and does not use counts as free.

    Args:
        device: the device.
        share: the part of the GPU that this process may use, from 0 to 1.
    """
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    used = torch.cuda.memory_allocated(device)
    unused = torch.cuda.memory_reserved(device) - used
    return max(0, min(free + unused, int(share * total) - used))


def memory_beside_peak(device: torch.device, share: float = 1.0) -> int | None:
    """Return the bytes that were free even when this process took the most since the last reset; None without a GPU.

    Memory breaks into pieces, so a fifth of the most counts as taken too.

    Args:
        device: the device.
        share: the part of the GPU that this process may use, from 0 to 1.
    """
    free = free_memory(device, share)
    if free is None:
        return None
    limit = free + torch.cuda.memory_allocated(device)
    return max(0, limit - int(_FRAGMENTATION * torch.cuda.max_memory_allocated(device)))


def items_at_once(free: int | None, item_bytes: int, default: int, limits: tuple[int, int]) -> int:
    """Return how many items to compute at once without gradients: as many as fit into a quarter of the free memory.

    The number is a power of two, so that it changes little with the memory that neighbors take.

    Args:
        free: bytes, see `free_memory`; None: a device on which `default` is right.
        item_bytes: memory that an item takes while it is computed.
        default: the number on a CPU.
        limits: the least and the largest number on a GPU.

    >>> items_at_once(None, 100, default=128, limits=(16, 4096))
    128
    >>> items_at_once(8 << 30, 1 << 20, default=128, limits=(16, 4096))
    2048
    """
    if free is None:
        return default
    fitting = max(1, free // 4 // item_bytes)
    least, most = limits
    return min(most, max(least, 1 << (fitting.bit_length() - 1)))
