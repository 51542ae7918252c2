"""Overrides by dotted path: `srem.regions=10` on top of a config, with errors that name the nearest known path."""

import json
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import ValidationError

from raysearch.core import UserError, extensions, nearest
from raysearch.studies.configs.base import RunConfig, Section
from raysearch.studies.configs.paths import Settings, nest, split_path
from raysearch.studies.configs.task_spec import TASKS


def known_paths(task: str) -> dict[str, Any]:
    """Return every dotted path of a task's config, with its pydantic field.

    Raises:
        UserError: unknown task.

    >>> "hash.bits" in known_paths("retrieval")
    True
    """
    extensions.load_from_environment()  # their sections are part of the config
    paths: dict[str, Any] = {}
    for section, field in TASKS[task].config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            paths |= {f"{section}.{name}": inner for name, inner in kind.model_fields.items()}
    return paths


def parse(words: list[str], task: str) -> dict[str, Any]:
    """Parse PATH=VALUE words.

    A value is one of the words that the path takes, JSON if it can be read as such, `none`, or plain text.

    Args:
        words: the words of the command line.
        task: whose config is set.

    Returns:
        Settings by dotted path.

    Raises:
        UserError: a word without `=`, or an unknown path.

    >>> parse(["srem.regions=10", "model.backbone=conv4", "model.weights=none", "data.augment=none"], "retrieval")
    {'srem.regions': 10, 'model.backbone': 'conv4', 'model.weights': None, 'data.augment': 'none'}
    """
    known = known_paths(task)
    settings: dict[str, Any] = {}
    for word in words:
        path, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"--set takes PATH=VALUE, such as srem.regions=10; got '{word}'")
        check_paths([path], task, "--set")
        settings[path] = text if text in get_args(known[path].annotation) else _parse_value(text)
    return settings


def parse_only(words: list[str]) -> dict[str, list[Any]]:
    """Parse FACTOR=LEVEL,LEVEL words; a level is JSON if it can be read as such, or plain text.

    Raises:
        UserError: a word without `=` or without levels.

    >>> parse_only(["hash.bits=12,24", "method=ITQ"])
    {'hash.bits': [12, 24], 'method': ['ITQ']}
    """
    levels: dict[str, list[Any]] = {}
    for word in words:
        factor, equals, text = word.partition("=")
        if not equals or not text:
            raise UserError(f"--only takes FACTOR=LEVEL, such as hash.bits=12,24; got '{word}'")
        levels.setdefault(factor, []).extend(_parse_value(level) for level in text.split(","))
    return levels


def test_episodes(count: int | None, task: str) -> Settings:
    """Return the settings of `--episodes`; none where it is not given.

    Raises:
        UserError: the task has no episodes.
    """
    if count is None:
        return {}
    if "episodes.test" not in known_paths(task):
        raise UserError(f"--episodes is for few-shot studies, not for {task}")
    return {"episodes.test": count}


def check_paths(paths: Iterable[str], task: str, where: str) -> None:
    """Check that a task's config has all paths.

    Args:
        paths: dotted.
        task: whose config is meant.
        where: the file that the paths come from, for the message.

    Raises:
        UserError: an unknown path; the message names the nearest known one.
    """
    known = known_paths(task)
    for path in paths:
        if path not in known:
            raise UserError(f"unknown config path '{path}' in {where}{nearest(path, known)}")


def resolve(task: str, settings: Settings, where: str = "the config") -> RunConfig:
    """Return a task's config: its defaults under `settings`.

    Args:
        task: whose config is built.
        settings: by dotted path.
        where: the file that the settings come from, for the message.

    Raises:
        UserError: an unknown path, or a value that the config does not take.
    """
    check_paths(settings, task, where)
    try:
        return TASKS[task].config.model_validate(nest(settings))
    except ValidationError as error:
        raise UserError(f"{where}: {_first_error(error)}") from None


def get_path(config: RunConfig, path: str) -> Any:
    """Return the value at a dotted path."""
    section, field = split_path(path)
    return getattr(getattr(config, section), field)


def scale_pixels(task: str, settings: Settings, side: int) -> dict[str, Any]:
    """Scale the sizes in `settings`, which are given for a 224 px image, to an image of `side` pixels; at least 1 px.

    >>> scale_pixels("retrieval", {"srem.size": 32, "srem.regions": 50}, side=64)
    {'srem.size': 9, 'srem.regions': 50}
    """
    known = known_paths(task)
    scaled = dict(settings)
    for path, value in settings.items():
        reference_side = _reference_side(known[path])
        if reference_side and isinstance(value, int | float):
            scaled[path] = max(1, round(value * side / reference_side))
    return scaled


def start_from(task: str, settings: Settings, given: Settings) -> dict[str, Any]:
    """Return the settings of a profile or a study under `given`, with their sizes scaled to the resulting side.

    >>> start_from("retrieval", {"data.side": 64}, {"hash.bits": 12})
    {'srem.size': 9, 'data.side': 64, 'hash.bits': 12}
    """
    # Defaults of sizes are for a 224 px image too.
    defaults = {path: field.default for path, field in known_paths(task).items() if _reference_side(field)}
    return {**scale_pixels(task, {**defaults, **settings}, side(task, {**settings, **given})), **given}


def side(task: str, settings: Settings) -> int:
    """Return the image side that `settings` set, or the default.

    It is validated alone, since other sizes are scaled to it.

    Raises:
        UserError: a value that the config does not take.
    """
    given = {"side": settings["data.side"]} if "data.side" in settings else {}
    kind = TASKS[task].config.model_fields["data"].annotation
    assert kind is not None
    try:
        return kind.model_validate(given).side
    except ValidationError as error:
        raise UserError(f"data.{_first_error(error)}") from None


def _reference_side(field: Any) -> int | None:
    """Return the image side that a size is given for; None for a field that is not a size in pixels."""
    extra = field.json_schema_extra
    return extra.get("pixels_of_side") if isinstance(extra, dict) else None


def _parse_value(text: str) -> Any:
    if text.lower() in ("none", "null"):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _first_error(error: ValidationError) -> str:
    """Return pydantic's first error in one line."""
    detail = error.errors()[0]
    path = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    return f"{path}={detail['input']!r}: {message}" if path else message
