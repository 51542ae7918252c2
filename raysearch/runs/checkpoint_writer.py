"""Checkpoints that a thread writes while training goes on: a copy of the state is serialized and stored beside it."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from raysearch.runs.checkpoints import Checkpoints

_SMALL = 1 << 20  # bytes


class CheckpointWriter:
    """Writes the checkpoints of a cell that trains, one after another, in a thread.

    Args:
        checkpoints: of the cell.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending: Future[None] | None = None

    def save(self, state: dict[str, Any], best: bool) -> None:
        """Copy a state and have it written, as `Checkpoints.save` does. What changes in the state later does not count.

        It waits for the checkpoint before. A small state on a local disk is written at once, which takes less time than
        to wake a thread.

        Raises:
            UserError: the store failed at the checkpoint before.
            OSError: the local disk did.
        """
        self.wait()
        if self._checkpoints.is_local and _size(state) < _SMALL:
            self._checkpoints.save(state, best)
            return
        copy, is_copied = _snapshot(state)
        self._pending = self._thread.submit(self._write, copy, best, is_copied)

    def check(self) -> None:
        """Report a failure of the last checkpoint, if it is known already; the errors are those of `save`."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Return when the last checkpoint is written; the errors are those of `save`."""
        pending = self._pending
        self._pending = None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Write what is pending and end the thread; the errors are those of `save`."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _write(self, state: dict[str, Any], best: bool, is_copied: torch.cuda.Event | None) -> None:
        if is_copied is not None:
            is_copied.synchronize()
        self._checkpoints.save(state, best)


def _size(state: Any) -> int:
    """Return the bytes of a state's tensors; those of a GPU count as large."""
    if isinstance(state, torch.Tensor):
        return state.nbytes if state.device.type == "cpu" else _SMALL
    if isinstance(state, Mapping):
        return sum(_size(value) for value in state.values())
    return sum(_size(value) for value in state) if isinstance(state, list | tuple) else 0


def _snapshot(state: Any) -> tuple[Any, torch.cuda.Event | None]:
    """Return a copy of a state on the CPU, and an event after which it is complete; None if it is.

    A GPU copies into pinned memory while the host goes on. What it computes next comes after the copy.
    """
    copies: dict[int, torch.Tensor] = {}
    devices: set[torch.device] = set()

    def _copy(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: _copy(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            items = [_copy(item) for item in value]
            return items if isinstance(value, list) else tuple(items)
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) not in copies:
            devices.add(value.device)
            copies[id(value)] = _copy_tensor(value.detach())
        return copies[id(value)]

    copy = _copy(state)
    gpus = [device for device in devices if device.type == "cuda"]
    if not gpus:
        return copy, None
    (gpu,) = gpus  # a worker has one
    is_copied = torch.cuda.Event()
    is_copied.record(torch.cuda.current_stream(gpu))
    return copy, is_copied


def _copy_tensor(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.device.type != "cuda":
        return tensor.to("cpu", copy=True)
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
