"""Dotted overrides: `srem.regions=10` on top of a config, with errors that name the nearest known path."""

import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from raysearch.core.errors import UserError, nearest
from raysearch.studies.configs import TASKS, RunConfig

Settings = Mapping[str, Any]  # dotted path -> value


def known_paths(task: str) -> dict[str, Any]:
    """Every dotted path of a task's config with its pydantic field.

    >>> "hash.bits" in known_paths("retrieval")
    True
    """
    paths: dict[str, Any] = {}
    for section, field in TASKS[task].config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            paths |= {f"{section}.{name}": inner for name, inner in kind.model_fields.items()}
    return paths


def parse(words: list[str], task: str) -> dict[str, Any]:
    """Read PATH=VALUE words; values are a word that the path takes, JSON where they can be, `none`, or plain text.

    >>> parse(["srem.regions=10", "model.backbone=conv4", "model.weights=none", "data.augment=none"], "retrieval")
    {'srem.regions': 10, 'model.backbone': 'conv4', 'model.weights': None, 'data.augment': 'none'}
    """
    known, settings = known_paths(task), dict[str, Any]()
    for word in words:
        path, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"--set takes PATH=VALUE, as srem.regions=10; got '{word}'")
        check_paths([path], task, "--set")
        settings[path] = text if text in get_args(known[path].annotation) else _value(text)
    return settings


def parse_only(words: list[str]) -> dict[str, list[Any]]:
    """Read FACTOR=LEVEL,LEVEL words; levels are JSON where they can be, or plain text.

    >>> parse_only(["hash.bits=12,24", "method=ITQ"])
    {'hash.bits': [12, 24], 'method': ['ITQ']}
    """
    wanted: dict[str, list[Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not text:
            raise UserError(f"--only takes FACTOR=LEVEL, as hash.bits=12,24; got '{word}'")
        wanted.setdefault(name, []).extend(_value(one) for one in text.split(","))
    return wanted


def test_episodes(count: int | None, task: str) -> Settings:
    """What --episodes sets; nothing where it was left out."""
    if count is None:
        return {}
    if "episodes.test" not in known_paths(task):
        raise UserError(f"--episodes is for few-shot studies, not for {task}")
    return {"episodes.test": count}


def check_paths(paths, task: str, where: str) -> None:
    """Raise a UserError for the first path that the task's config does not have."""
    known = known_paths(task)
    for path in paths:
        if path not in known:
            raise UserError(f"unknown config path '{path}' in {where}{nearest(path, known)}")


def resolve(task: str, settings: Settings, where: str = "the config") -> RunConfig:
    """Build the task's config from its defaults and `settings`; a value that cannot be is a UserError."""
    check_paths(settings, task, where)
    nested: dict[str, dict[str, Any]] = {}
    for path, value in settings.items():
        section, name = path.split(".")
        nested.setdefault(section, {})[name] = value
    try:
        return TASKS[task].config.model_validate(nested)
    except ValidationError as error:
        raise UserError(f"{where}: {_first(error)}") from None


def get_path(config: RunConfig, path: str) -> Any:
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
        given_for = _given_for(known[path])
        if given_for and isinstance(value, int | float):
            scaled[path] = max(1, round(value * side / given_for))
    return scaled


def start_from(task: str, settings: Settings, given: Settings) -> dict[str, Any]:
    """The settings of a profile or a study, with their sizes scaled to the side that follows, under `given`.

    >>> start_from("retrieval", {"data.side": 64}, {"hash.bits": 12})
    {'srem.size': 9, 'data.side': 64, 'hash.bits': 12}
    """
    # A size that nobody sets has its default, which is for a 224 px image too.
    defaults = {path: field.default for path, field in known_paths(task).items() if _given_for(field)}
    return {**scale_pixels(task, {**defaults, **settings}, side(task, {**settings, **given})), **given}


def side(task: str, settings: Settings) -> int:
    """The image side that `settings` ask for, or the default; looked at alone, since sizes are to be fitted to it."""
    given = {"side": settings["data.side"]} if "data.side" in settings else {}
    kind = TASKS[task].config.model_fields["data"].annotation
    assert kind is not None
    try:
        return kind.model_validate(given).side
    except ValidationError as error:
        raise UserError(f"data.{_first(error)}") from None


def _given_for(field: Any) -> int | None:
    """The image side that a size's values are given for; None for what is no size in pixels."""
    extra = field.json_schema_extra
    return extra.get("pixels_of_side") if isinstance(extra, dict) else None


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
