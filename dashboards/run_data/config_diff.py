"""A nested config as dotted paths, and in what two of them differ."""

from collections.abc import Iterable, Mapping
from typing import Any

from dashboards.html import formats

DEEPEST = 32  # levels that are taken apart; configs have four
Change = tuple[str, str, str]  # path, the value before and after

_ABSENT = "absent"


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """
    >>> flat({"srem": {"size": 9}, "task": "retrieval"})
    {'srem.size': 9, 'task': 'retrieval'}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and prefix.count(".") < DEEPEST:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def between(config: Mapping[str, Any], other: Mapping[str, Any]) -> list[Change]:
    """What changes from one config to another.

    >>> between({"srem": {"size": 9}, "task": "retrieval"}, {"srem": {"size": 18}, "task": "retrieval"})
    [('srem.size', '9', '18')]
    """
    before, after = flat(config), flat(other)
    return [
        (path, _word(before, path), _word(after, path))
        for path in {**before, **after}
        if _word(before, path) != _word(after, path)
    ]


def words(changes: Iterable[Change]) -> list[str]:
    """
    >>> words([("srem.size", "9", "18")])
    ['srem.size: 9 → 18']
    """
    return [f"{path}: {before} \N{RIGHTWARDS ARROW} {after}" for path, before, after in changes]


def _word(values: Mapping[str, Any], path: str) -> str:
    return formats.level(values[path]) if path in values else _ABSENT
