"""Names of levels: how results and reports name a level, and which levels a text of the command line names.

A level is named by what runs, not by how the study file spells it: 1e-3 and 0.001 are one level, and so are 1 and 1.0.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raysearch.core import UserError, nearest
from raysearch.studies.configs import RunConfig, overrides
from raysearch.studies.design.factors import Factor

_MOST_WORDS = 200  # of one text


def format_value(value: Any) -> str:
    """Return a config's value as names hold it.

    >>> format_value(200.0), format_value(0.1), format_value((-2, -1)), format_value(None)
    ('200', '0.1', '[-2, -1]', 'None')
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(format_value, value)) + "]"
    return str(value)


def describe_settings(settings: Mapping[str, Any]) -> str:
    """Return settings by dotted path in words: "srem.regions=10, srem.size=9"."""
    return ", ".join(f"{path}={format_value(value)}" for path, value in settings.items())


def label_in_config(factor: Factor, settings: Mapping[str, Any], config: RunConfig, side: int) -> str:
    """Return the label of the level that a config has.

    Args:
        factor: a factor whose levels have labels.
        settings: those of the study, which choose the label while the config has them.
        config: the config that runs.
        side: of the images, to which sizes in pixels are scaled.

    Returns:
        The label; the config's own values where it has none of the levels, for example after `--set`.
    """

    declared = factor.label(settings)
    levels = list(zip(factor.labels, factor.levels, strict=True))
    holding = [(label, level) for label, level in levels if holds(level, config, side)]
    if any(label == declared for label, _ in holding):
        return str(declared)
    if holding:
        return max(holding, key=lambda item: len(item[1]))[0]
    return describe_settings({path: overrides.get_path(config, path) for path in factor.paths})


def holds(level: Mapping[str, Any], config: RunConfig, side: int) -> bool:
    """Return whether a config has the settings of a level, with sizes in pixels scaled to the side of the images."""
    scaled = overrides.scale_pixels(config.task, level, side)
    return all(_same(path, value, config) for path, value in scaled.items())


def find_levels(factor: Factor, names: Sequence[Any], task: str) -> list[int]:
    """Return the positions of the levels that names mean, in the order of the factor.

    Args:
        factor: whose levels are meant.
        names: values, labels, or texts with several of them, separated by commas. A name that holds commas is taken as
            a whole where the factor has it; quotes keep it whole in any case.
        task: whose config the levels set.

    Raises:
        UserError: a name without a level.
    """
    found: set[int] = set()
    for name in names:
        if isinstance(name, str):
            found.update(_find_in_text(factor, name, task))
        else:
            found.add(_find_value(factor, name, task))
    return sorted(found)


def _find_in_text(factor: Factor, text: str, task: str) -> list[int]:
    """Return the positions of the levels that a text lists: the longest name first, then what follows its comma."""
    words = text.split(",")

    def _find_from(start: int) -> list[int] | None:
        if start == len(words):
            return []
        for end in range(len(words), start, -1):
            position = _position(factor, ",".join(words[start:end]), task)
            rest = None if position is None else _find_from(end)
            if position is not None and rest is not None:
                return [position, *rest]
        return None

    if len(words) <= _MOST_WORDS and (levels_named := _find_from(0)) is not None:
        return levels_named
    wrong = next((word.strip() for word in words if _position(factor, word, task) is None), text.strip())
    raise UserError(_no_such_level(factor, wrong))


def _find_value(factor: Factor, value: Any, task: str) -> int:
    for position, level in enumerate(factor.levels):
        if factor.labels and factor.labels[position] == str(value):
            return position
        if not factor.labels and _is_value(factor, level, value, task):
            return position
    if value is None:
        return _find_in_text(factor, "none", task)[0]
    raise UserError(_no_such_level(factor, value))


def _position(factor: Factor, text: str, task: str) -> int | None:
    """Return the position of the level that a text names; None if there is none."""
    spellings = list(dict.fromkeys((text, text.strip(), _unquoted(text.strip()))))
    names = list(_names(factor))
    for spelling in spellings:
        if spelling in names:
            return names.index(spelling)
    if factor.labels or factor.paths != (factor.name,):
        return None
    for spelling in spellings:
        for value in (overrides.parse_text(spelling), spelling):
            for position, level in enumerate(factor.levels):
                if _is_value(factor, level, value, task):
                    return position
    return None


def _is_value(factor: Factor, level: Mapping[str, Any], value: Any, task: str) -> bool:
    """Return whether a level has a value, as the config holds both: 1, 1.0 and "1" may be the same, 1 and True not."""
    if factor.paths != (factor.name,):
        return False
    given = overrides.absolute_paths({factor.name: value}, task)[factor.name]
    try:
        held, given_value = (overrides.check_value(factor.name, item, task, "") for item in (level[factor.name], given))
    except UserError:
        return type(level[factor.name]) is type(value) and level[factor.name] == value
    return type(held) is type(given_value) and held == given_value


def _names(factor: Factor) -> Iterator[str]:
    if factor.labels:
        yield from factor.labels
    elif factor.paths == (factor.name,):
        yield from (format_value(level[factor.name]) for level in factor.levels)
    else:
        yield from ["off"] * len(factor.levels)


def _no_such_level(factor: Factor, name: Any) -> str:
    names = list(_names(factor))
    hint = nearest(str(name), names)
    listed = ", ".join(known if re.fullmatch(r"[\w.:+-]+", known) else f"'{known}'" for known in names)
    is_number = isinstance(name, int | float) or re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", str(name))
    guess = hint if "did you mean" in hint and not is_number else ""  # a number looks like any other
    return f"--only {factor.name}={name}: no such level; '{factor.name}' has {listed}{guess}"


def _unquoted(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if is_quoted else text


def _same(path: str, value: Any, config: RunConfig) -> bool:
    held = overrides.get_path(config, path)
    try:
        return bool(overrides.check_value(path, value, config.task, "") == held)
    except UserError:
        return False
