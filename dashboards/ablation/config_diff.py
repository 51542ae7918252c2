"""Differences between nested configs, as dotted paths: the facts behind a variant's name."""

from collections.abc import Iterable, Mapping
from typing import Any

from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import formats

_MAX_DEPTH = 32  # levels that are flattened; configs have four
Change = tuple[str, str, str]  # path, the value before and after

_ABSENT = "absent"


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested config as path -> value.

    >>> flat({"srem": {"size": 9}, "task": "retrieval"})
    {'srem.size': 9, 'task': 'retrieval'}
    """
    values: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and prefix.count(".") < _MAX_DEPTH:
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values


def between(config: Mapping[str, Any], other: Mapping[str, Any]) -> list[Change]:
    """Return the changes from one config to another.

    >>> between({"srem": {"size": 9}, "task": "retrieval"}, {"srem": {"size": 18}, "task": "retrieval"})
    [('srem.size', '9', '18')]
    """
    before = flat(config)
    after = flat(other)
    return [
        (path, _value_text(before, path), _value_text(after, path))
        for path in {**before, **after}
        if _value_text(before, path) != _value_text(after, path)
    ]


def changes_from_reference(run: View, variant: Variant) -> list[Change]:
    """Return the changes from the reference's config to a variant's; none if a config was not recorded."""
    reference_config = run.named[variant.reference].config
    return between(reference_config, variant.config) if reference_config and variant.config else []


def words(changes: Iterable[Change]) -> list[str]:
    """Return changes as text.

    >>> words([("srem.size", "9", "18")])
    ['srem.size: 9 → 18']
    """
    return [f"{path}: {before} \N{RIGHTWARDS ARROW} {after}" for path, before, after in changes]


def _value_text(values: Mapping[str, Any], path: str) -> str:
    return formats.level(values[path]) if path in values else _ABSENT
