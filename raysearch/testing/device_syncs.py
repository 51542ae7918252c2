"""Count how often the host waits for the accelerator, on a machine without one.

torch's `meta` device stands for the accelerator: its tensors have shapes and no values. `SyncCounter` sees every
operator below autograd. It counts those that would make the host wait on CUDA, and answers them with stand-in values,
so that the code goes on. Operators on `meta` cost next to nothing, so a ResNet-50 at 224 px is counted in a second.

CUDA waits for all queued work when it copies pageable memory, and when the host needs a value or a size. Departures:

- A copy with `non_blocking=True` is not counted, in either direction. On CUDA its host memory has to be pinned, and an
  event has to guard the reuse of that memory; `meta` shows neither.
- Calls of `torch.cuda`, such as `synchronize`, are not seen.
- Stand-in values are 1.0, True and 0, and a mask selects everything. Code that branches on values may take the
  other branch.
- Other threads are not seen, so a thread that fills a buffer ahead of time does not count.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple, Self
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ACCELERATOR = "meta"
# A place is the innermost frame outside of these.
_SKIPPED = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
_aten = torch.ops.aten

Kind = Literal["upload", "download", "read-back", "size"]


class Sync(NamedTuple):
    """One wait of the host.

    Args:
        kind: "upload" and "download" are blocking copies, "read-back" is a value that the host needs, and "size" is a
            shape that depends on values.
        operator: name of the operator that waits.
        place: file, line and function of the innermost frame outside of torch.
    """

    kind: Kind
    operator: str
    place: str


class SyncCounter(TorchDispatchMode):
    """Counts the waits of the code that runs inside its `with` block; see the module.

    Example:
        >>> with SyncCounter() as counter:
        ...     images = torch.zeros(4, 3).to("meta")
        ...     total = images.sum().item()
        >>> [sync.kind for sync in counter.syncs]
        ['upload', 'read-back']
    """

    def __init__(self) -> None:
        super().__init__()
        self.syncs: list[Sync] = []
        self._patch = patch.object(torch, "autocast", _Autocast)

    @property
    def count(self) -> int:
        """The number of waits so far."""
        return len(self.syncs)

    def places(self) -> dict[str, int]:
        """Return the number of waits per place, the most frequent place first."""
        return dict(Counter(f"{sync.place}: {sync.kind} by {sync.operator}" for sync in self.syncs).most_common())

    def __enter__(self) -> Self:
        """Begin to count in this thread."""
        self._patch.start()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """End counting."""
        super().__exit__(*error)
        self._patch.stop()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count an operator if it waits, and answer it if `meta` cannot."""
        named = kwargs or {}
        answer = self.count_operator(func, args, named)
        return answer(func, args, named)

    def count_operator(self, func: Any, args: Sequence[Any], named: dict[str, Any]) -> "Answer":
        """Count an operator if it waits, and return the function that answers it."""
        rule = _RULES.get(func.overloadpacket)
        waits, answer = rule(func, args, named) if rule else ([], _run)
        place = _place() if waits else ""
        self.syncs += [Sync(kind, str(func), place) for kind in waits]
        return answer


class _Autocast(torch.autocast):
    """Autocast that does nothing for `meta`, which has none."""

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: Any = None) -> None:
        without = device_type == _ACCELERATOR
        super().__init__("cpu" if without else device_type, dtype, enabled and not without, cache_enabled)


def count_syncs() -> SyncCounter:
    """Return a counter, which counts inside its `with` block: `with count_syncs() as counter`."""
    return SyncCounter()


Answer = Callable[[Any, Sequence[Any], dict[str, Any]], Any]
Rule = Callable[[Any, Sequence[Any], dict[str, Any]], tuple[list[Kind], Answer]]


def _run(func: Any, args: Sequence[Any], named: dict[str, Any]) -> Any:
    return func(*args, **named)


def _on_accelerator(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == _ACCELERATOR


def _copy_to(func: Any, args: Sequence[Any], named: dict[str, Any]) -> tuple[list[Kind], Answer]:
    """Handle `Tensor.to`, `cpu` and `cuda`."""
    source = args[0]
    target = torch.device(named.get("device") or source.device)
    waits = not named.get("non_blocking", False)
    if _on_accelerator(source) and target.type != _ACCELERATOR:
        return ["download"] if waits else [], _host_values
    is_upload = target.type == _ACCELERATOR and not _on_accelerator(source)
    return ["upload"] if is_upload and waits else [], _run


def _host_values(func: Any, args: Sequence[Any], named: dict[str, Any]) -> Tensor:
    return _standin(args[0].shape, named.get("dtype") or args[0].dtype)


def _filled(func: Any, args: Sequence[Any], named: dict[str, Any]) -> Tensor:
    target: Tensor = args[0]
    return target.copy_(_standin(target.shape, args[1].dtype))


def _standin(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return the values that the host reads: zeros for integers, which are safe indices, and otherwise ones.

    Codes are -1 or +1, and checks ask whether all is well.
    """
    return torch.full(shape, dtype.is_floating_point or dtype == torch.bool, dtype=dtype)


def _copy_into(func: Any, args: Sequence[Any], named: dict[str, Any]) -> tuple[list[Kind], Answer]:
    """Handle `Tensor.copy_`."""
    target, source, *rest = args
    waits = not (rest[0] if rest else named.get("non_blocking", False))
    if _on_accelerator(source) and not _on_accelerator(target):
        return ["download"] if waits else [], lambda func, args, named: args[0].copy_(
            _standin(args[0].shape, args[1].dtype)
        )
    is_upload = _on_accelerator(target) and not _on_accelerator(source)
    return ["upload"] if is_upload and waits else [], _run


def _from_values(func: Any, args: Sequence[Any], named: dict[str, Any]) -> tuple[list[Kind], Answer]:
    """Handle `torch.tensor` and its kin, which copy values of the host."""
    return ["upload"] if _on_accelerator(args[0]) else [], _run


def _one_value(func: Any, args: Sequence[Any], named: dict[str, Any]) -> tuple[list[Kind], Answer]:
    """Handle `Tensor.item`, `int`, `float` and `bool`."""
    if not _on_accelerator(args[0]):
        return [], _run
    return ["read-back"], lambda func, args, named: _standin((), args[0].dtype).item()


def _comparison(func: Any, args: Sequence[Any], named: dict[str, Any]) -> tuple[list[Kind], Answer]:
    """Handle `torch.equal` and `torch.allclose`."""
    if not _on_accelerator(args[0]):
        return [], _run
    return ["read-back"], lambda func, args, named: True


def _sized(standin: Answer) -> Rule:
    """Return the rule of an operator whose result has a size that depends on values."""

    def _rule(func: Any, args: Sequence[Any], named: dict[str, Any]) -> tuple[list[Kind], Answer]:
        return (["size"], standin) if _on_accelerator(args[0]) else ([], _run)

    return _rule


def _every_position(mask: Tensor) -> Tensor:
    """Return the positions (numel, dimensions) of a mask that is true everywhere."""
    return torch.empty(mask.numel(), mask.dim(), dtype=torch.int64, device=_ACCELERATOR)


def _selected(func: Any, args: Sequence[Any], named: dict[str, Any]) -> Tensor:
    values, mask = torch.broadcast_tensors(*args[:2])
    return values.new_empty(mask.numel())


def _bins(func: Any, args: Sequence[Any], named: dict[str, Any]) -> Tensor:
    weights = args[1] if len(args) > 1 else named.get("weights")
    minimum = args[2] if len(args) > 2 else named.get("minlength", 0)
    dtype = torch.int64 if weights is None else weights.dtype
    return torch.empty(max(1, minimum), dtype=dtype, device=_ACCELERATOR)


def _distinct(func: Any, args: Sequence[Any], named: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    values = args[0].flatten()
    index = torch.empty(args[0].shape, dtype=torch.int64, device=_ACCELERATOR)
    return values, index, torch.empty(values.shape, dtype=torch.int64, device=_ACCELERATOR)


def _repeats(func: Any, args: Sequence[Any], named: dict[str, Any]) -> tuple[list[Kind], Answer]:
    """Handle `repeat_interleave` by a tensor, which waits unless the size of the result is given."""
    if not _on_accelerator(args[0]) or named.get("output_size") is not None:
        return [], _run
    return ["size"], lambda func, args, named: torch.empty_like(args[0], dtype=torch.int64)


def _indexed(func: Any, args: Sequence[Any], named: dict[str, Any]) -> tuple[list[Kind], Answer]:
    """Handle `values[index]` and `values[index] = ...`: host indices are copied, and a mask has an unknown size."""
    values, indices, *rest = args
    if not _on_accelerator(values):
        return [], _run
    waits: list[Kind] = []
    expanded: list[Tensor | None] = []
    for index in indices:
        is_mask = index is not None and index.dtype in (torch.bool, torch.uint8)
        if index is not None and not _on_accelerator(index):
            waits.append("upload")
        elif is_mask:
            waits.append("size")
        expanded += _every_position(index).unbind(1) if is_mask else [index]
    is_fill = len(rest) > 0 and rest[0].numel() == 1
    if is_fill and waits == ["size"]:
        waits = []  # torch fills by the mask
    return waits, lambda func, args, named: func(values, expanded, *rest, **named)


_RULES: dict[Any, Rule] = {
    _aten._to_copy: _copy_to,
    _aten.copy_: _copy_into,
    _aten.copy: _copy_into,
    _aten.lift_fresh: _from_values,
    _aten._local_scalar_dense: _one_value,
    _aten.equal: _comparison,
    _aten.allclose: _comparison,
    _aten.nonzero: _sized(lambda func, args, named: _every_position(args[0])),
    _aten.masked_select: _sized(_selected),
    _aten.bincount: _sized(_bins),
    _aten._unique2: _sized(_distinct),
    _aten.unique_consecutive: _sized(_distinct),
    _aten.repeat_interleave: _repeats,
    _aten.index: _indexed,
    _aten._unsafe_index: _indexed,
    _aten.index_put: _indexed,
    _aten.index_put_: _indexed,
    _aten._index_put_impl_: _indexed,
}


def _place() -> str:
    """Return the innermost frame outside of torch: the last three parts of its file, its line and its function."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and (frame.f_code.co_filename.startswith(_SKIPPED)):
        frame = frame.f_back
    if frame is None:
        return "unknown"
    name = "/".join(Path(frame.f_code.co_filename).parts[-3:])
    return f"{name}:{frame.f_lineno} in {frame.f_code.co_name}"
