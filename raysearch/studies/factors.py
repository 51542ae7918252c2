"""What a study varies: factors with their levels, and components that can be switched off."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Factor:
    """Something that a study varies: a name and its levels, each a few settings."""

    name: str
    levels: tuple[Mapping[str, Any], ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for level in self.levels for path in level))


def factor(path: str, *levels: Any) -> Factor:
    """A config path and the values it takes.

    >>> factor("srem.regions", 0, 50).levels
    ({'srem.regions': 0}, {'srem.regions': 50})
    """
    return Factor(path, tuple({path: level} for level in levels))


def component(name: str, off: Mapping[str, Any]) -> Factor:
    """A part of the model and the settings that switch it off, for `leave_one_out`.

    >>> component("SREM", off={"srem.regions": 0, "esrl.erased": 0}).name
    'SREM'
    """
    return Factor(name, (dict(off),))
