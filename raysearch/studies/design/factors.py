"""What a study varies: factors with their levels, and components that can be switched off."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.core import Problems
from raysearch.studies.configs.plain_values import plain_settings, to_plain
from raysearch.studies.design import study_values


@dataclass(frozen=True)
class Factor:
    """Something that a study varies: a name and its levels. A level is a few settings, and may have a label.

    Values become plain types: those of NumPy and torch, paths, enumerations, sets and iterators too.

    Raises:
        UserError: a value without a plain form, or a name or labels that cannot be told apart.
    """

    name: str
    levels: tuple[Mapping[str, Any], ...]
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = Problems()
        with problems.caught():
            study_values.check_text(self.name, "the name of a factor")
        with problems.caught():
            study_values.check_distinct([str(self.name)], "name of a factor")
        where = f"factor '{self.name}'"
        levels = tuple(plain_settings(level, where, problems) for level in self.levels)
        labels = tuple(str(label) for label in _plain_items(self.labels, f"labels of '{self.name}'", problems))
        with problems.caught():
            study_values.check_distinct(labels, f"labels of '{self.name}'")
        object.__setattr__(self, "name", str(self.name))
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "labels", labels)
        study_values.report(problems)

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
    if not isinstance(levels, Mapping):
        problems = Problems()
        problems.add(f"choice '{name}': levels are {{label: {{'config.path': value}}}}, not {levels!r}")
        study_values.report(problems)
        levels = {}
    return Factor(name, tuple(levels.values()), tuple(levels))


def component(name: str, off: Mapping[str, Any]) -> Factor:
    """Return a part of the model that `leave_one_out` switches off.

    Args:
        name: the part's name.
        off: settings by dotted path that switch it off.

    >>> component("SREM", off={"srem.regions": 0, "esrl.erased": 0}).name
    'SREM'
    """
    return Factor(name, (off,))


def _plain_items(values: Iterable[Any], where: str, problems: Problems) -> list[Any]:
    plain = []
    for value in values:
        with problems.caught():
            plain.append(to_plain(value, where))
    return plain
