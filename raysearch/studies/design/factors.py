"""What a study varies: factors with their levels, and components that can be switched off."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Factor:
    """Something that a study varies: a name and its levels, each a few settings, which may have labels."""

    name: str
    levels: tuple[Mapping[str, Any], ...]
    labels: tuple[str, ...] = ()

    def label(self, settings: Mapping[str, Any]) -> str | None:
        """The label of the level that `settings` hold, of several the one that says most; None where they hold none."""
        levels = zip(self.levels, self.labels, strict=False)
        held = [(len(level), label) for level, label in levels if level.items() <= settings.items()]
        return max(held, key=lambda one: one[0])[1] if held else None

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for level in self.levels for path in level))


def factor(path: str, *levels: Any) -> Factor:
    """A config path and the values it takes.

    >>> factor("srem.regions", 0, 50).levels
    ({'srem.regions': 0}, {'srem.regions': 50})
    """
    return Factor(path, tuple({path: level} for level in levels))


def choice(name: str, levels: Mapping[str, Mapping[str, Any]]) -> Factor:
    """A factor whose levels have names and each several settings.

    >>> choice("method", {"ITQ": {"hash.method": "itq"}, "LSH": {"hash.method": "lsh"}}).labels
    ('ITQ', 'LSH')
    """
    return Factor(name, tuple(dict(level) for level in levels.values()), tuple(levels))


def component(name: str, off: Mapping[str, Any]) -> Factor:
    """A part of the model and the settings that switch it off, for `leave_one_out`.

    >>> component("SREM", off={"srem.regions": 0, "esrl.erased": 0}).name
    'SREM'
    """
    return Factor(name, (dict(off),))
