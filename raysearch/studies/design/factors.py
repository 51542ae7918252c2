"""What a study varies: factors with their levels, and components that can be switched off."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Factor:
    """Something that a study varies: a name and its levels. A level is a few settings, and may have a label."""

    name: str
    levels: tuple[Mapping[str, Any], ...]
    labels: tuple[str, ...] = ()

    def label(self, settings: Mapping[str, Any]) -> str | None:
        """Return the label of the level that `settings` hold; of several, the one with most settings; None if none.

        Args:
            settings: dotted path -> value.
        """
        levels = zip(self.levels, self.labels, strict=False)
        matching = [(len(level), label) for level, label in levels if level.items() <= settings.items()]
        return max(matching, key=lambda match: match[0])[1] if matching else None

    @property
    def paths(self) -> tuple[str, ...]:
        """The config paths that the levels set, each once."""
        return tuple(dict.fromkeys(path for level in self.levels for path in level))


def factor(path: str, *levels: Any) -> Factor:
    """Return a factor of one config path.

    Args:
        path: dotted.
        levels: values that it takes.

    >>> factor("srem.regions", 0, 50).levels
    ({'srem.regions': 0}, {'srem.regions': 50})
    """
    return Factor(path, tuple({path: level} for level in levels))


def choice(name: str, levels: Mapping[str, Mapping[str, Any]]) -> Factor:
    """Return a factor whose levels have labels and several settings each.

    Args:
        name: the factor's name.
        levels: label -> settings by dotted path.

    >>> choice("method", {"ITQ": {"hash.method": "itq"}, "LSH": {"hash.method": "lsh"}}).labels
    ('ITQ', 'LSH')
    """
    return Factor(name, tuple(dict(level) for level in levels.values()), tuple(levels))


def component(name: str, off: Mapping[str, Any]) -> Factor:
    """Return a part of the model that `leave_one_out` switches off.

    Args:
        name: the part's name.
        off: settings by dotted path that switch it off.

    >>> component("SREM", off={"srem.regions": 0, "esrl.erased": 0}).name
    'SREM'
    """
    return Factor(name, (dict(off),))
