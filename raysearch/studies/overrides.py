"""Dotted overrides: `srem.regions=10` on top of a config, with errors that name the nearest known path."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from raysearch.errors import UserError, nearest
from raysearch.studies.config import CONFIGS, RetrievalConfig

Settings = Mapping[str, Any]  # dotted path -> value


def known_paths(task: str) -> dict[str, Any]:
    """Every dotted path of a task's config with its pydantic field.

    >>> "hash.bits" in known_paths("retrieval")
    True
    """
    if task not in CONFIGS:
        raise UserError(f"unknown task '{task}'{nearest(task, CONFIGS)}")
    paths = {}
    for section, field in CONFIGS[task].model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            paths |= {f"{section}.{name}": inner for name, inner in kind.model_fields.items()}
    return paths


def parse(words: list[str], task: str) -> dict[str, Any]:
    """Read PATH=VALUE words; values are JSON where they can be, `none`, or plain text.

    >>> parse(["srem.regions=10", "model.backbone=conv4", "model.weights=none"], "retrieval")
    {'srem.regions': 10, 'model.backbone': 'conv4', 'model.weights': None}
    """
    settings: dict[str, Any] = {}
    for word in words:
        path, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"--set takes PATH=VALUE, as srem.regions=10; got '{word}'")
        check_paths([path], task, "--set")
        settings[path] = _value(text)
    return settings


def check_paths(paths, task: str, where: str) -> None:
    """Raise a UserError for the first path that the task's config does not have."""
    known = known_paths(task)
    for path in paths:
        if path not in known:
            raise UserError(f"unknown config path '{path}' in {where}{nearest(path, known)}")


def resolve(task: str, settings: Settings, where: str = "the config") -> RetrievalConfig:
    """Build the task's config from its defaults and `settings`; a value that cannot be is a UserError."""
    check_paths(settings, task, where)
    nested: dict[str, dict[str, Any]] = {}
    for path, value in settings.items():
        section, name = path.split(".")
        nested.setdefault(section, {})[name] = value
    try:
        return CONFIGS[task].model_validate(nested)
    except ValidationError as error:
        raise UserError(f"{where}: {_first(error)}") from None


def get(config: RetrievalConfig, path: str) -> Any:
    """The value at a dotted path."""
    section, name = path.split(".")
    return getattr(getattr(config, section), name)


def scale_pixels(task: str, settings: Settings, side: int) -> dict[str, Any]:
    """Scale the sizes in `settings` that are given for a 224 px image to an image of `side` pixels, at least 1 px.

    >>> scale_pixels("retrieval", {"srem.size": 32, "srem.regions": 50}, side=64)
    {'srem.size': 9, 'srem.regions': 50}
    """
    known = known_paths(task)
    scaled = dict(settings)
    for path, value in settings.items():
        extra = known[path].json_schema_extra if path in known else None
        if isinstance(extra, dict) and "pixels_of_side" in extra and isinstance(value, int):
            scaled[path] = max(1, round(value * side / extra["pixels_of_side"]))
    return scaled


def _value(text: str) -> Any:
    if text.lower() in ("none", "null"):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _first(error: ValidationError) -> str:
    """One line for pydantic's first complaint."""
    detail = error.errors()[0]
    path = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    return f"{path}={detail['input']!r}: {message}" if path else message
