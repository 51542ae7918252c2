"""Dotted config paths, such as `srem.regions`, and the nested form that configs have: {"srem": {"regions": 10}}."""

from collections.abc import Mapping
from typing import Any

Settings = Mapping[str, Any]  # dotted path -> value


def split_path(path: str) -> tuple[str, str]:
    """Return the section and the field that a dotted path names."""
    section, field = path.split(".")
    return section, field


def nest(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return settings by section.

    >>> nest({"srem.regions": 10, "srem.size": 9, "hash.bits": 12})
    {'srem': {'regions': 10, 'size': 9}, 'hash': {'bits': 12}}
    """
    nested: dict[str, dict[str, Any]] = {}
    for path, value in settings.items():
        section, field = split_path(path)
        nested.setdefault(section, {})[field] = value
    return nested


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain config's values by dotted path; values outside sections, such as the task, are left out.

    >>> flatten({"task": "retrieval", "hash": {"bits": 12}})
    {'hash.bits': 12}
    """
    return {
        f"{section}.{field}": value
        for section, values in config.items()
        if isinstance(values, Mapping)
        for field, value in values.items()
    }


def replace_values(config: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a plain config with the values at dotted paths replaced; the given one stays as it is.

    >>> replace_values({"train": {"lr": 0.1, "epochs": 2}}, {"train.lr": 0.2})
    {'train': {'lr': 0.2, 'epochs': 2}}
    """
    return {**config, **{section: {**config[section], **values} for section, values in nest(settings).items()}}
