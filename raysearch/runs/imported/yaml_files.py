"""YAML files from elsewhere: plain values only, and no aliases, with which a small file grows without end."""

from pathlib import Path
from typing import Any

import yaml

from raysearch.core import UserError
from raysearch.runs.imported import source

_MAX_CHARACTERS = 1 << 20


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        UserError: the file cannot be read, is too large, has aliases, or holds something else.
    """
    return _mapping(_load(path), path)


def read_list(path: Path) -> list[Any]:
    """Return the list in a YAML file; the errors are those of `read_mapping`."""
    value = _load(path)
    if not isinstance(value, list):
        raise UserError(f"'{path}' is damaged: it holds no list")
    return value


def _load(path: Path) -> Any:
    text = source.read_text(path)
    if len(text) > _MAX_CHARACTERS:
        raise UserError(f"'{path}' is too large for a config: {len(text):,} characters")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise UserError(f"'{path}' has aliases, which are not read")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"'{path}' is not YAML: {' '.join(str(error).split())[:200]}") from None


def _mapping(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"'{path}' is damaged: it holds no mapping")
    return {str(name): entry for name, entry in value.items()}
