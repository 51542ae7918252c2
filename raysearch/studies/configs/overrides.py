"""Overrides by dotted path: `srem.regions=10` on top of a config, with errors that name the nearest known path."""

import ast
import json
import re
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError

from raysearch.core import Problems, Registry, UserError, UserErrors, extensions, nearest, user_code
from raysearch.studies.configs.base import RunConfig, Section
from raysearch.studies.configs.paths import Settings, absolute_path, code_mark, nest, path_mark
from raysearch.studies.configs.task_spec import TASKS


def known_paths(task: str) -> dict[str, Any]:
    """Return every dotted path of a task's config, with its pydantic field.

    Raises:
        UserError: unknown task.

    >>> "hash.bits" in known_paths("retrieval")
    True
    """
    extensions.load_from_environment()  # their sections are part of the config
    return dict(TASKS[task].config.setting_fields())


def parse(words: list[str], task: str) -> dict[str, Any]:
    """Parse PATH=VALUE words.

    A value is one of the words that the path takes, JSON if it can be read as such, `none`, or plain text. A setting
    that takes text keeps the text. A relative path of a file becomes absolute.

    Args:
        words: the words of the command line.
        task: whose config is set.

    Returns:
        Settings by dotted path.

    Raises:
        UserError: a word without `=`, or an unknown path; of several mistakes each.

    >>> parse(["srem.regions=10", "model.backbone=conv4", "model.weights=none", "data.augment=none"], "retrieval")
    {'srem.regions': 10, 'model.backbone': 'conv4', 'model.weights': None, 'data.augment': 'none'}
    """
    problems = Problems()
    for word in words:
        path, _, text = word.partition("=")
        with problems.caught():
            register_codes({path.strip(): parse_text(text)}, task)  # whose settings other words may set
    known = known_paths(task)
    settings: dict[str, Any] = {}
    for word in words:
        path, equals, text = word.partition("=")
        path = path.strip()
        with problems.caught():
            if not equals:
                raise UserError(f"--set takes PATH=VALUE, such as srem.regions=10; got '{word}'")
            check_paths([path], task, "--set")
            settings[path] = _parse_setting(text, known[path].annotation)
    problems.raise_all()
    return absolute_paths(settings, task)


def parse_only(words: list[str], factors: Iterable[str] = ()) -> dict[str, list[str]]:
    """Parse FACTOR=LEVEL,LEVEL words. The levels stay text, since only the study knows which commas separate them.

    Args:
        words: the words of the command line.
        factors: names of the study's factors, which may hold `=`.

    Raises:
        UserError: a word without `=` or without levels.

    >>> parse_only(["hash.bits=12,24", "method=ITQ"])
    {'hash.bits': ['12,24'], 'method': ['ITQ']}
    """
    levels: dict[str, list[str]] = {}
    for word in words:
        named = [factor for factor in factors if word.startswith(f"{factor}=")]
        factor = max(named, key=len, default=word.partition("=")[0])
        text = word[len(factor) + 1 :]
        if not text.strip():
            raise UserError(f"--only takes FACTOR=LEVEL, such as hash.bits=12,24; got '{word}'")
        levels.setdefault(factor, []).append(text)
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


def check_value(path: str, value: Any, task: str, where: str) -> Any:
    """Return a value as the config holds it, for example 1 as 1.0. Other settings may still forbid it.

    Args:
        path: dotted, known.
        value: of a study file or a command.
        task: whose config is meant.
        where: the place that the value comes from, for the message.

    Raises:
        UserError: a value that the setting does not take.

    >>> check_value("esrl.positive", 1, "retrieval", "there")
    1.0
    """
    *sections, field = path.split(".")
    kind: Any = TASKS[task].config.section_at(sections)
    try:
        return getattr(kind.model_validate({field: value}), field)
    except ValidationError as error:
        messages = [line for place, line in _errors(error, ".".join(sections)) if place == path]
        if messages:
            raise UserErrors(f"{where}: {line}" for line in messages) from None
        return value


def register_codes(settings: Settings, task: str, folder: Path | None = None) -> dict[str, Any]:
    """Read the code of a user that settings name, and return the settings with the references by which it is known.

    Args:
        settings: dotted path -> value; unknown paths stay as they are.
        task: whose config is meant.
        folder: of the study file; it is looked in after the current directory.

    Raises:
        UserError: code that cannot be read, or that is not of the kind that the setting takes; of several each.
    """
    known = known_paths(task)
    completed = dict(settings)
    problems = Problems()
    for path, value in settings.items():
        mark = code_mark(known[path]) if path in known else None
        if mark is None:
            continue
        is_list = isinstance(value, list | tuple)
        with problems.caught(f"{path}={value}: "):
            learned = [_register_code(item, mark.registry, folder) for item in (value if is_list else [value])]
            completed[path] = learned if is_list else learned[0]
    problems.raise_all()
    return completed


def _register_code(value: Any, registry: Registry[Any], folder: Path | None) -> Any:
    """Return the reference by which the code of a user is known; what is no reference is returned as it is."""
    if not user_code.is_reference(value) or registry.has_name(value):
        return value
    try:
        reference = user_code.register_reference(value, folder).reference
    except UserError:
        if user_code.registered_code(value) is None:  # otherwise it came from another folder
            raise
        reference = value
    registry.check_name(reference)  # adds its settings to the config
    return reference


def absolute_paths(settings: Settings, task: str, folder: Path | None = None) -> dict[str, Any]:
    """Return settings whose relative paths of files are absolute, so that every process finds the same files.

    Code of a user that they name is read, so they must come from a user: a study, a command or a call.

    Args:
        settings: dotted path -> value; unknown paths stay as they are.
        task: whose config is meant.
        folder: of the study file; it is looked in after the current directory.
    """
    return absolute_files(register_codes(settings, task, folder), task, folder)


def absolute_files(settings: Settings, task: str, folder: Path | None = None) -> dict[str, Any]:
    """Return settings like `absolute_paths`, but read no code of a user: for settings from a file of a run."""
    completed = dict(settings)
    known = known_paths(task)
    for path, value in completed.items():
        mark = path_mark(known[path]) if path in known else None
        if mark is not None and isinstance(value, str):
            completed[path] = absolute_path(value, mark.is_name, folder)
    return completed


def resolve(task: str, settings: Settings, where: str = "the config") -> RunConfig:
    """Return a task's config: its defaults under `settings`.

    Args:
        task: whose config is built.
        settings: by dotted path.
        where: the file that the settings come from, for the message.

    Raises:
        UserError: an unknown path, or a value that the config does not take; of several mistakes each.
    """
    check_paths(settings, task, where)
    try:
        return TASKS[task].config.model_validate(nest(settings))
    except ValidationError as error:
        problems = Problems()
        problems.add(*(f"{where}: {line}" for _, line in _errors(error)))
        problems.raise_all()
        raise


def get_path(config: RunConfig, path: str) -> Any:
    """Return the value at a dotted path."""
    return config.value_at(path)


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


def unscale_pixels(task: str, settings: Settings, side: int) -> dict[str, Any]:
    """Return sizes in pixels of an image of `side` pixels as a study file gives them; `scale_pixels` undoes it.

    >>> unscale_pixels("retrieval", {"srem.size": 9, "srem.regions": 50}, side=64)
    {'srem.size': 32, 'srem.regions': 50}
    """
    known = known_paths(task)
    unscaled = dict(settings)
    for path, value in settings.items():
        reference_side = _reference_side(known[path]) if path in known else None
        if reference_side and isinstance(value, int | float) and side:
            unscaled[path] = round(value * reference_side / side)
    return unscaled


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
    section = TASKS[task].config.model_fields.get("data")
    kind: Any = section.annotation if section is not None else None
    if not (isinstance(kind, type) and issubclass(kind, Section) and "side" in kind.model_fields):
        return 0  # a task whose settings hold no sizes in pixels
    try:
        validated: Any = kind.model_validate(given)
        return int(validated.side)
    except ValidationError as error:
        raise UserError(_errors(error, "data")[0][1]) from None


def is_pixel_size(field: Any) -> bool:
    """Return whether a setting is a size in pixels, which scales with the image."""
    return _reference_side(field) is not None


def _reference_side(field: Any) -> int | None:
    """Return the image side that a size is given for; None for a field that is not a size in pixels."""
    extra = field.json_schema_extra
    return extra.get("pixels_of_side") if isinstance(extra, dict) else None


def _parse_setting(text: str, annotation: Any) -> Any:
    """Return the value that a word of the command line gives a setting of a type."""
    is_union = get_origin(annotation) in (Union, UnionType)
    kinds = get_args(annotation) if is_union else (annotation,)
    if text in get_args(annotation):
        return text
    if not any(kind is str or str in get_args(kind) for kind in kinds):
        return parse_text(text)
    parsed = parse_text(text)
    is_quoted = isinstance(parsed, str)
    is_none = parsed is None and type(None) in kinds
    return parsed if is_quoted or is_none else text  # a file or a split may be called 2024


def parse_text(text: str) -> Any:
    """Return the value of a word of the command line: JSON, a Python list, `none`, or plain text."""
    if text.strip().lower() in ("none", "null"):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        value = ast.literal_eval(text.strip()) if text.strip()[:1] in ("(", "[") else text
    except (ValueError, SyntaxError):
        return text
    return list(value) if isinstance(value, tuple) else value


def _errors(error: ValidationError, section: str = "") -> list[tuple[str, str]]:
    """Return the dotted path and one line for each of pydantic's errors; the path is empty where several settings
    together are wrong.
    """
    lines = []
    for detail in error.errors():
        place = ".".join(str(part) for part in (section, *detail["loc"]) if part != "").removeprefix("own.")
        message = detail["msg"].removeprefix("Value error, ")
        words = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
        if detail["type"] == "literal_error" and isinstance(detail["input"], str):
            hint = nearest(detail["input"], words)
            message += "" if "known:" in hint else hint
        path = place if detail["loc"] else ""
        lines.append((path, f"{place}={detail['input']!r}: {message}" if path else message))
    return lines
