"""The device of a worker: whether it works, how much of its memory the worker may take, and whose fault a failure is.

An error of CUDA is sticky: after an illegal access, a failed assertion, an ECC error or a lost card, every later call
of the process fails. So a worker group checks its device when it starts, and after each error that may come from it. A
process whose device is lost is replaced; no further cell runs in it.
"""

import gc
import platform
import re
import time
from dataclasses import dataclass
from typing import Any

import torch

from raysearch.core import UserError
from raysearch.tasks.base import NonFiniteLoss

_PROBE_SIDE = 64  # of the matrices that are multiplied
_LEAST_MEMORY = 1 / 16  # of what the worker may take; the process that was here before may still hold the rest
_MEMORY_SECONDS = 30.0  # in which an ended process gives its memory back
_USABLE_SHARE = 0.95  # of a part of a GPU; the context of each process takes memory besides
_SLACK = 0.1  # of a GPU: contexts of other processes, and a desktop
_MANY_OBJECTS = 20_000  # are looked through in about 10 ms
_NOTABLE = 1 << 28  # bytes; the workspaces of cuBLAS take less
_GIB = 2**30
# cuBLAS, cuDNN, NCCL and the driver report a failed allocation as other errors than torch.OutOfMemoryError.
_OUT_OF_MEMORY = re.compile(r"out of memory|ALLOC_FAILED", re.IGNORECASE)
_MAX_LENGTH = 300  # characters of a reason


class DeviceLost(RuntimeError):
    """The device of this process cannot be used any more, or not at all. Only another process can go on."""


class MemoryTaken(RuntimeError):
    """A cell found no memory, because others than the cell hold it. It should be tried again in a new process."""


def device_name(device: torch.device) -> str:
    """Return the name of a device as results record it: that of the GPU, or the type of the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def check_device(device: torch.device, share: float = 1.0) -> None:
    """Check that a device computes, and that it has memory.

    Args:
        device: the device of a worker.
        share: the part of the device that the worker may take.

    Raises:
        DeviceLost: it does not.
    """
    try:
        _multiply(device, torch.float32)
        if device.type == "cuda":
            if torch.cuda.get_device_capability(device) >= (8, 0):
                _multiply(device, torch.bfloat16)
            _wait_for_memory(device, share)
    except DeviceLost:
        raise
    except Exception as error:
        raise DeviceLost(f"{_place(device)} does not compute: {first_line(error)}") from error


def _multiply(device: torch.device, dtype: torch.dtype) -> None:
    ones = torch.ones(_PROBE_SIDE, _PROBE_SIDE, device=device, dtype=dtype)
    total = (ones @ ones).sum(dtype=torch.float32).item()
    if total != _PROBE_SIDE**3:
        raise DeviceLost(f"{_place(device)} computes wrongly: a sum in {dtype} is {total:g}, not {_PROBE_SIDE**3}")


def _wait_for_memory(device: torch.device, share: float) -> None:
    """Wait until a GPU has some free memory. An ended process gives its memory back after a moment."""
    deadline = time.monotonic() + _MEMORY_SECONDS
    while True:
        free, total = torch.cuda.mem_get_info(device)
        needed = _LEAST_MEMORY * share * total
        if free + torch.cuda.memory_reserved(device) >= needed:
            return
        if time.monotonic() > deadline:
            raise DeviceLost(
                f"other processes hold the memory of {_place(device)}: {free / _GIB:.1f} of {total / _GIB:.1f} GiB are "
                "free; end them"
            )
        time.sleep(1.0)


def require_cuda() -> None:
    """Check that torch can use a GPU, in a worker that Ray has given one.

    Raises:
        DeviceLost: it cannot: the driver is too old for this version of torch, or there is no GPU.
    """
    try:
        torch.cuda.init()
    except Exception as error:
        raise DeviceLost(
            f"the GPU that Ray gave to a worker on {platform.node()} cannot be used by torch {torch.__version__}: "
            f"{first_line(error)}"
        ) from error


def limit_memory(device: torch.device, share: float) -> None:
    """Keep this process to its part of a GPU, so that the processes beside it keep theirs.

    Args:
        device: the device of a worker.
        share: the part of the device that the worker may take; 1 sets no limit.
    """
    if device.type == "cuda" and share < 1:
        torch.cuda.set_per_process_memory_fraction(_USABLE_SHARE * share, device)


def free_memory(device: torch.device, settled: bool = False) -> None:
    """Free what an ended cell has left: objects in reference cycles, and the memory that torch keeps for reuse.

    A collection looks through all modules that the process has loaded, which takes longer than a small cell.

    Args:
        device: the device of the worker.
        settled: keep what survives out of the next collections, once it is much. It is then never collected, so nothing
            of a cell may be among it: an error that is kept somewhere keeps its cell.
    """
    gc.collect()
    if settled and len(gc.get_objects()) > _MANY_OBJECTS:
        gc.freeze()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class MemoryUse:
    """Who holds the memory of a GPU.

    Args:
        total: bytes of the GPU.
        free: bytes that no process holds.
        reserved: bytes that this process holds.
        share: the part of the GPU that this process may take.
    """

    total: int
    free: int
    reserved: int
    share: float = 1.0

    @property
    def others(self) -> int:
        """Bytes that other processes hold, and the contexts of all processes."""
        return max(0, self.total - self.free - self.reserved)

    @property
    def taken_by_others(self) -> bool:
        """Whether other processes hold a part of what this one may take."""
        return self.others > (1 - self.share + _SLACK) * self.total


def memory_use(device: torch.device, share: float = 1.0) -> MemoryUse | None:
    """Return who holds the memory of a device; None for a device that is no GPU."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return MemoryUse(total, free, torch.cuda.memory_reserved(device), share)


def allocated_memory(device: torch.device) -> int:
    """Return the bytes of a GPU that live tensors of this process take; 0 for another device."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a device had no memory left, whichever library has noticed.

    >>> is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    True
    >>> is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    False
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


def shared_kind(error: BaseException) -> str | None:
    """Return the kind of an error that says nothing against the device; None for any other.

    All workers of a group meet such errors together: losses are sums over the workers, and their parts are alike.
    """
    if isinstance(error, NonFiniteLoss):
        return "NonFiniteLoss"
    if isinstance(error, UserError):
        return "UserError"
    return "out of memory" if is_out_of_memory(error) else None


def check_after(error: BaseException, device: torch.device, share: float, allocated_before: int) -> None:
    """Find out whether a cell's error is the cell's own.

    Args:
        error: raised by the cell.
        device: the device of the worker.
        share: the part of the device that the worker may take.
        allocated_before: bytes of the device that this process held when the cell began.

    Raises:
        DeviceLost: the device does not work any more.
        MemoryTaken: the cell had no memory, because other processes or earlier cells hold it.
    """
    kind = shared_kind(error)
    if kind == "out of memory":
        use = memory_use(device, share)
        if use is not None and use.taken_by_others:
            raise MemoryTaken(
                f"out of GPU memory while other processes hold {use.others / _GIB:.1f} of {use.total / _GIB:.1f} GiB"
            ) from error
        if allocated_before > _NOTABLE:
            raise MemoryTaken(
                f"out of GPU memory, of which {allocated_before / _GIB:.1f} GiB were taken before the cell began"
            ) from error
    elif kind is None:
        if isinstance(error, torch.AcceleratorError):
            raise DeviceLost(f"{_place(device)} was lost: {first_line(error)}") from error
        check_device(device, share)


def count_collectives() -> int:
    """Return the number of collectives that this process has begun. torch has no public name for it."""
    group: Any = torch.distributed.group.WORLD
    count: int = group._get_sequence_number_for_group()
    return count


def _place(device: torch.device) -> str:
    return f"the device {device} on {platform.node()}"


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message: CUDA's go on with advice on debugging."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0].strip()}"[:_MAX_LENGTH]
