"""State-dict keys that stay as earlier versions wrote them, whatever the attributes are called today."""

from functools import partial
from typing import Any

from torch import nn


def keep_stored_names(module: nn.Module, **stored: str) -> None:
    """Write and read the parts of a module under their stored names.

    Args:
        module: its direct parts are meant.
        stored: attribute=name in state dicts.

    >>> class Network(nn.Module):
    ...     def __init__(self) -> None:
    ...         super().__init__()
    ...         self.backbone = nn.Linear(2, 2, bias=False)
    ...         keep_stored_names(self, backbone="trunk")
    >>> state = Network().state_dict()
    >>> list(state), Network().load_state_dict(state)
    (['trunk.weight'], <All keys matched successfully>)
    """
    attributes = {name: attribute for attribute, name in stored.items()}
    module.register_state_dict_post_hook(partial(_rename, names=stored))
    module.register_load_state_dict_pre_hook(partial(_rename, names=attributes))


def _rename(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any, names: dict[str, str]) -> None:
    """Rename the keys of the module's parts in place, in the same order."""
    entries = list(state.items())
    state.clear()
    for key, value in entries:
        if key.startswith(prefix):
            part, dot, inner = key.removeprefix(prefix).partition(".")
            key = f"{prefix}{names.get(part, part)}{dot}{inner}"
        state[key] = value
