"""Dotted config paths, such as `srem.regions`, and the nested form that configs have: {"srem": {"regions": 10}}.

A setting whose type is marked with `NameOrPath` holds a name or the path of a file, which `absolute_path` completes.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from raysearch.core import Registry

Settings = Mapping[str, Any]  # dotted path -> value


def nest(settings: Settings) -> dict[str, Any]:
    """Return settings in nested form.

    >>> nest({"srem.regions": 10, "srem.size": 9, "width": 12})
    {'srem': {'regions': 10, 'size': 9}, 'width': 12}
    """
    nested: dict[str, Any] = {}
    for path, value in settings.items():
        *sections, name = path.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return nested


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain config's values by dotted path; the name of the task is left out.

    >>> flatten({"task": "retrieval", "hash": {"bits": 12}})
    {'hash.bits': 12}
    """
    return flatten_values({name: value for name, value in config.items() if name != "task"})


def flatten_values(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted path. An empty mapping is no value.

    Args:
        values: nested, with text keys.
        prefix: the path that they are below, with its dot.
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten_values(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def replace_values(config: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a plain config with the values at dotted paths replaced; the given one stays as it is.

    >>> replace_values({"train": {"lr": 0.1, "epochs": 2}}, {"train.lr": 0.2})
    {'train': {'lr': 0.2, 'epochs': 2}}
    """
    return _merge(config, nest(settings))


def _merge(config: Mapping[str, Any], nested: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(config)
    for name, value in nested.items():
        inner = config.get(name)
        merged[name] = _merge(inner, value) if isinstance(value, dict) and isinstance(inner, Mapping) else value
    return merged


@dataclass(frozen=True)
class NameOrPath:
    """Marks the type of a setting that holds a name or the path of a file: `Annotated[str, NameOrPath(is_name)]`.

    Args:
        is_name: tells whether a text is a known name, which no file of that name hides.
    """

    is_name: Callable[[str], bool]


@dataclass(frozen=True)
class NameOrCode:
    """Marks the type of a setting that holds a name of a registry, or a reference to a user's code.

    Args:
        registry: has the names, and makes items of codes.
    """

    registry: Registry[Any]


def code_mark(field: Any) -> NameOrCode | None:
    """Return the mark of a pydantic field that may hold a reference to a user's code; None for other fields."""
    parts = (*field.metadata, *_parts_of_type(field.annotation))
    return next((part for part in parts if isinstance(part, NameOrCode)), None)


def path_mark(field: Any) -> NameOrPath | None:
    """Return the mark of a pydantic field that holds a path; None for other fields. `pathlib.Path` needs no mark."""
    for item in (*field.metadata, *_parts_of_type(field.annotation)):
        if isinstance(item, NameOrPath):
            return item
        if isinstance(item, type) and issubclass(item, Path):
            return NameOrPath(lambda _: False)
    return None


def absolute_path(text: str, is_name: Callable[[str], bool], folder: Path | None = None) -> str:
    """Return a path that means the same file in every process; names and URIs stay as they are.

    Args:
        text: a name, a path or a URI. `~` is the home directory.
        is_name: tells whether a text is a known name.
        folder: where a relative path is looked up when the current directory does not hold it.

    >>> absolute_path("IMAGENET1K_V1", lambda _: True), absolute_path("s3://bucket/w.pth", lambda _: False)
    ('IMAGENET1K_V1', 's3://bucket/w.pth')
    """
    if "://" in text or not text.strip() or is_name(text):
        return text
    path = Path(text).expanduser()
    for base in (Path.cwd(), folder):
        if base is not None and (base / path).exists():
            return os.path.abspath(base / path)
    is_path = "/" in text or path.suffix or text in ("~", ".", "..")
    return os.path.abspath(path) if is_path else text


def _parts_of_type(annotation: Any) -> Iterator[Any]:
    """Yield the parts of a type and their marks: those of `Annotated[str, mark] | None` are str, mark and None."""
    yield annotation
    yield from getattr(annotation, "__metadata__", ())
    for part in get_args(annotation):
        yield from _parts_of_type(part)
