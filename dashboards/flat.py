"""A nested config as dotted paths, and in what two of them differ."""

from collections.abc import Mapping
from typing import Any

from dashboards import formats

DEEPEST = 32  # levels that are taken apart; configs have four


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


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What became of each path that is not the same in both flat configs.

    >>> changes({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": True})
    ['b: 2 → 3', 'c: none → true']
    """
    paths = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    return [
        f"{path}: {formats.level(before.get(path))} \N{RIGHTWARDS ARROW} {formats.level(after.get(path))}"
        for path in paths
    ]
