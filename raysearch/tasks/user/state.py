"""What a user's function reports: numbers of a step, and a state that any process can read without running code."""

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from raysearch.core import UserError, type_of
from raysearch.studies.configs.user import metric_names

_ARRAY = "raysearch.numpy"  # marks a NumPy array in a packed state
_DEEPEST = 50


def plain_numbers(values: Any, where: str) -> dict[str, Any]:
    """Return named numbers as Python's own.

    Args:
        values: name -> number, NumPy scalar, or tensor of one element.
        where: the call that gave them, for messages.

    Raises:
        UserError: no mapping, a value that is no number, or a name that the results use.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: expected {{'name': number}}, not {type_of(values)}")
    plain = {}
    for name, value in values.items():
        if not isinstance(name, str) or not name:
            raise UserError(f"{where}: a name is a text, not {name!r}")
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.detach().item()
        elif isinstance(value, np.ndarray | np.generic) and value.size == 1:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise UserError(f"{where}: '{name}' is {_describe(value)}, not a number")
        metric_names.check_name(name, where)
        plain[name] = int(value) if isinstance(value, numbers.Integral) else float(value)
    return plain


def pack_state(state: Any, where: str = "state", giver: str = "run.report") -> Any:
    """Return a copy of a state on the CPU, of types that a checkpoint can hold.

    Args:
        state: tensors, NumPy arrays, numbers, texts, bytes, None, and lists, tuples and dicts of them.
        where: the place in the state, for messages.
        giver: the call that gave the state, for messages.

    Raises:
        UserError: a value of another type.
    """
    if where.count("[") > _DEEPEST:
        raise UserError(f"{giver}: {where[:60]}... is nested too deep; does it hold itself?")
    if state is None or type(state) in (bool, int, float, str, bytes):
        return state
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, np.ndarray) and state.dtype.kind in "biufc":
        return {_ARRAY: [state.dtype.str, list(state.shape), np.ascontiguousarray(state).tobytes()]}
    if isinstance(state, np.generic):
        return pack_state(state.item(), where, giver)
    if isinstance(state, Mapping):
        for key in state:
            if type(key) not in (str, int, float, bool, tuple, type(None)):
                raise UserError(f"{giver}: a key of {where} is {_describe(key)}; use texts or numbers")
        return {key: pack_state(value, f"{where}[{key!r}]", giver) for key, value in state.items()}
    if isinstance(state, list | tuple):
        packed = [pack_state(value, f"{where}[{index}]", giver) for index, value in enumerate(state)]
        return tuple(packed) if isinstance(state, tuple) else packed
    advice = "give its state_dict()" if hasattr(state, "state_dict") else "pickle.dumps(...) makes bytes of it"
    raise UserError(f"{giver}: {where} is {_describe(state)}, which cannot be saved; {advice}")


def unpack_state(packed: Any) -> Any:
    """Return the state that `pack_state` packed."""
    if isinstance(packed, dict):
        if set(packed) == {_ARRAY}:
            kind, shape, data = packed[_ARRAY]
            return np.frombuffer(data, dtype=kind).reshape(shape).copy()
        return {key: unpack_state(value) for key, value in packed.items()}
    if isinstance(packed, list | tuple):
        unpacked = [unpack_state(value) for value in packed]
        return tuple(unpacked) if isinstance(packed, tuple) else unpacked
    return packed


def _describe(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else ""
    return type_of(value) + (f" ({text[:40]})" if text else "")
