"""What a variant's config holds that its reference's does not: the truth behind a name, wherever a variant is shown."""

from collections.abc import Mapping
from typing import Any

from dashboards import formats
from dashboards.view import Variant, View

Change = tuple[str, str, str]  # path, the reference's value, the variant's own

_ABSENT = "absent"


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """
    >>> flat({"srem": {"size": 9}, "task": "retrieval"})
    {'srem.size': 9, 'task': 'retrieval'}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
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


def changes(run: View, one: Variant) -> list[Change]:
    """What a variant's config changes from its reference's; nothing for a reference, or where no config was kept."""
    other = run.named[one.reference].config
    return between(other, one.config) if other and one.config else []


def _word(values: Mapping[str, Any], path: str) -> str:
    return formats.level(values[path]) if path in values else _ABSENT
