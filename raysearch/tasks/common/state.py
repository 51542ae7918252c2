"""States of tasks, as they go into files."""

from typing import Any

from torch import Tensor


def copied(state: Any) -> Any:
    """A state whose tensors are copies on the CPU, in plain dicts."""
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    return state.to("cpu", copy=True) if isinstance(state, Tensor) else state
