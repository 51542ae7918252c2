"""An accelerator with values, on a machine without one: `meta` tensors whose values are kept on the host.

`count_syncs` answers with stand-in values. Here every operator on `meta` tensors is computed on the CPU as well, and
read-backs get the true values. So code that takes another path on a GPU, such as crops of a whole batch, runs with its
real numbers, and they can be compared with those of the CPU's path.

Like CUDA, it refuses operators that mix tensors of the host and of the device, except numbers, copies and indices.
Departures: kernels are the CPU's, so rounding is; there are no streams, events or pinned memory.
"""

import sys
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

from raysearch.testing.device_syncs import SyncCounter

_DEVICE = "meta"
_aten = torch.ops.aten
_MIXING = {  # operators that CUDA allows with tensors of both sides
    _aten.copy_,
    _aten.index,
    _aten.index_put,
    _aten.index_put_,
    _aten._index_put_impl_,
}
_CLEAN_EVERY = 10_000  # operators between two searches for freed storages


class EmulatedDevice(SyncCounter):
    """Computes the values of `meta` tensors inside its `with` block, and counts waits as `count_syncs` does.

    Example:
        >>> with EmulatedDevice() as device:
        ...     total = torch.arange(4.0).to("meta").square().sum().item()
        >>> total, device.count
        (14.0, 2)
    """

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[StorageWeakRef, torch.UntypedStorage] = {}
        self._operators = 0
        self._factories = _Factories()

    def __enter__(self) -> Self:
        """Begin to compute values in this thread."""
        _clear_caches()
        super().__enter__()
        self._factories.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """End computing values: the tensors of the device are then as empty as other `meta` tensors."""
        self._factories.__exit__(*error)
        super().__exit__(*error)
        _clear_caches()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count an operator if it waits, and compute it on the values."""
        named = kwargs or {}
        self.count_operator(func, args, named)
        self._clean()
        inputs = [value for value in tree_flatten((args, named))[0] if isinstance(value, Tensor)]
        on_device = any(tensor.device.type == _DEVICE for tensor in inputs)
        given = named.get("device")
        target = _DEVICE if given is None and on_device else torch.device(given or "cpu").type
        if not on_device and target != _DEVICE:
            return func(*args, **named)
        if func.overloadpacket not in _MIXING:
            _check_devices(func, inputs)
        host_args, host_named = tree_map(self._on_host, (tuple(args), named))
        if "device" in host_named:
            host_named["device"] = torch.device("cpu")
        computed = func(*host_args, **host_named)
        if any(result.alias_info is not None for result in func._schema.returns):
            # A view, or an operator in place: its values are those of an input.
            return args[0] if func.overloadpacket in _MIXING else func(*args, **named)
        return tree_map(self._on_device, computed) if target == _DEVICE else computed

    def _on_host(self, value: Any) -> Any:
        """Return the values of a tensor of the device; anything else unchanged."""
        if not isinstance(value, Tensor) or value.device.type != _DEVICE:
            return value
        storage = value.untyped_storage()
        key = StorageWeakRef(storage)
        if key not in self._values:
            raise RuntimeError(f"a tensor of {tuple(value.shape)} has no values: it was made outside of the block")
        host = torch.empty(0, dtype=value.dtype, device="cpu")  # whatever the default device is
        return host.set_(self._values[key], value.storage_offset(), value.size(), value.stride())

    def _on_device(self, value: Any) -> Any:
        """Return a tensor of the device with these values; anything else unchanged."""
        if not isinstance(value, Tensor):
            return value
        tensor = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device=_DEVICE)
        self._values[StorageWeakRef(tensor.untyped_storage())] = value.untyped_storage()
        return tensor

    def _clean(self) -> None:
        self._operators += 1
        if self._operators % _CLEAN_EVERY == 0:
            self._values = {key: values for key, values in self._values.items() if not key.expired()}


class _Factories(TorchFunctionMode):
    """Copies values of Python to the device; below, torch would leave them out of `meta` tensors."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func is Tensor.new_tensor:
            place = named.pop("device", None) or args[0].device
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **named}).to(place)
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and named.get("device") is not None:
            return func(*args, **{**named, "device": None}).to(named["device"])
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            args = (args[0], _without_lists(args[1]), *args[2:])
        return func(*args, **named)


def _without_lists(index: Any) -> Any:
    """Return an index whose lists of rows are tensors of the host."""
    if isinstance(index, tuple):
        return tuple(_without_lists(part) for part in index)
    return torch.tensor(index) if isinstance(index, list) else index


def _clear_caches() -> None:
    """Clear the caches of raysearch's functions: constants that they hold on `meta` have no values here."""
    for name, module in list(sys.modules.items()):
        if name.startswith("raysearch."):
            for value in vars(module).values():
                if callable(getattr(value, "cache_clear", None)):
                    value.cache_clear()


def _check_devices(func: Any, inputs: Sequence[Tensor]) -> None:
    """Raise as CUDA does where an operator mixes tensors of host and device; numbers may be on the host.

    Raises:
        RuntimeError: it mixes them.
    """
    places = {tensor.device.type for tensor in inputs if tensor.dim() or tensor.device.type == _DEVICE}
    if len(places) > 1:
        raise RuntimeError(f"{func}: expected all tensors on one device, but found {sorted(places)}")
